"""A page to look at, of a run or of predictions: the script of --mode=report.

writing            which folder it is, where the page goes, and that nothing is lost
run_folder         what lies in a run's folder: config, log, predictions, scores
run_page           the page of a run
predicted_folder   what --mode=predict left of each video
predicted_page     the page of that
score_tables       the figures of any task, video by video, the worst first
result_videos      the videos of a run with their time lines
films              a video of three pictures: the frame, true objects, found objects

All is read from files: neither a model nor jax is needed.
"""

from stemseg_jax.report.writing import run

__all__ = ["run"]
