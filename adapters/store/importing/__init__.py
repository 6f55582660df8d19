"""Files as people have them: what a file is, its rows checked, and what is refused with which words."""
