"""Named SQL statements; `load(name)` reads one."""
