"""Reading, checking, binning and splitting recordings; nothing here knows of torch."""
