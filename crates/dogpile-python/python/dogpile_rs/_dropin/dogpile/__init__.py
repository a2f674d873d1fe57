"""Stands for dogpile.cache where its folder is on PYTHONPATH: hands the name to dogpile_rs."""

import dogpile_rs

dogpile_rs.install()
