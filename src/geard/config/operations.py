"""Settings, shown."""

from __future__ import annotations

from geard.config.requests import GetSettings, SettingInForce, SettingsInForce
from geard.dispatch.operation import operation
from geard.dispatch.work import Work


@operation
async def get_settings(request: GetSettings, work: Work) -> SettingsInForce:
    settings = work.host.settings
    found = await work.on_disk(settings.all)
    return SettingsInForce(
        path=str(settings.path),
        settings=tuple(
            SettingInForce(table=each.table, name=each.name, value=each.value, origin=each.origin)
            for each in found
        ),
    )
