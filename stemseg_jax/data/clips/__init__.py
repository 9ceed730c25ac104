"""From a video or a still image to a training clip of fixed shape.

sampling         which frames of a video
stills           frames of a still image, each moved and coloured at random
duplication      a second instance where there is only one
transforms       size, crop, mirror, order and colour of a whole clip
canvas           a fixed height and width, and a fixed number of instances
clip_sampler     all of these in order: a random clip of one dataset

colour and warping hold what happens to a single image.
"""
