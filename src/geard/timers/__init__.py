"""Timers: jobs that systemd starts by the calendar, with or without the agent.

A timer is a folder on the gears' disk: what was asked, and two units, `cron-NAME.timer` and the
`cron-NAME.service` that it starts. That service runs `gear cron fire NAME`, which looks at what still runs,
and asks for a job.
"""
