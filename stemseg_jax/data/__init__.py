"""Videos and annotations to batches of clips, in NumPy.

readers          what every dataset gives: lazy videos with their annotations
datasets/        official folders as downloaded, one file for each
encoded_video    a video of image files with labels beside them
composition      moving objects over the frames of a video
packed/          the same videos in a few large files, for clusters
clips/           from a video or a still to a training clip of fixed shape
pipeline         from a config to the endless stream of batches
checking         every fault of a dataset
inputs/          files, folders, cameras and streams, to predict
"""
