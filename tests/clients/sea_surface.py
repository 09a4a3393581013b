"""Prints the buoy's sea-surface temperatures as they are in the data set: `time,temperature` lines."""

import gzip
import sys
from importlib.resources import files

data = files("bokeh_sampledata") / "_data" / "sea_surface_temperature.csv.gz"
sys.stdout.write(gzip.decompress(data.read_bytes()).decode())
