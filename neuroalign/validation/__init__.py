"""The method on the two public benchmarks of its paper: translated PolyMNIST and bimodal CelebA.

Data, networks and protocol are here; `neuroalign.nn` and `neuroalign.training` are used as they
are for spike trains.
"""
