"""Files and folders into a gear and out of it: `gear cp`.

A program of geard's goes into the gear's namespaces and reads or writes there, with the rights of the gear and no
more (`within`); what goes between is a tar. So a hostile gear that swaps a folder for a link leads to what is its
own, whatever the image has in it, and volumes, whose files belong to the gear's own users, can be written: the
engines' own `cp` works from outside, as the host's root, to whom no such file can belong.
"""
