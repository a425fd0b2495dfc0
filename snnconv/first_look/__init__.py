"""A first look at a network that nobody knows yet: what its code says about time, and the ways in which it may be called.

own_code       the functions of the user's own that a network runs
configuration  numbers in attributes, dictionaries, namespaces, classes and modules
places         the places in which the number of time steps T may stand
step_count     where T stands in a network, and running it for another T
arguments      the arguments by which its forward is told of time
layouts        what one call of a whole run is given: an image, or frames with time first, second or last
calls          every way in which a network may be called, to be tried
"""
