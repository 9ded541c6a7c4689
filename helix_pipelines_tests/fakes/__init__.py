"""Stand-ins for services outside, speaking their real protocols over loopback HTTP."""
