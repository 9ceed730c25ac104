"""Each object cut out of the frames, on a transparent ground.

cutouts/3/00017.png    object 3 in frame 17: as large as its box, RGBA
cutouts/3/boxes.csv    where that lay: a line "frame,x,y,width,height" for each
"""

import contextlib
import pathlib

import cv2
import numpy as np
import PIL.Image
import scipy.ndimage
from jaxtyping import Bool, Integer, UInt8

from stemseg_jax.formats import images, whole

SOFT = 0.6  # pixels over which an edge fades
BEYOND = np.ones((5, 5), np.uint8)  # how far colours go on outside of a mask


class Writer:
    """Writes objects frame by frame; the folder appears once it is complete.

        with cutouts.Writer(folder) as writer:
            writer.write(index, image, labels)

    Raises:
        ValueError: The folder is there, and was not written by this class.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = pathlib.Path(folder)

    def __enter__(self) -> "Writer":
        with contextlib.ExitStack() as stack:
            self._partial = stack.enter_context(whole.folder(self.folder, "cutouts"))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception) -> None:
        self._stack.__exit__(*exception)

    def write(
        self,
        index: int,
        image: UInt8[np.ndarray, "H W 3"],
        labels: Integer[np.ndarray, "_ _"],
    ) -> None:
        """Adds the objects of a frame.

        Args:
            index: Of the frame; it is the name of the files.
            labels: Ids from 1; what is below belongs to no object.

        Raises:
            ValueError: The labels are not as large as the frame.
        """
        where = f"{self.folder}: labels of frame {index}:"
        images.check_size(labels.shape, image.shape[:2], where, "the frame is")
        for id, box in enumerate(scipy.ndimage.find_objects(labels), start=1):
            if box is None:
                continue
            folder = self._partial / str(id)
            folder.mkdir(exist_ok=True)
            cut = cut_out(image, labels == id, box)
            PIL.Image.fromarray(cut).save(folder / f"{index:05d}.png")
            _note(folder / "boxes.csv", index, box)


def cut_out(
    image: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    box: tuple[slice, slice],
) -> UInt8[np.ndarray, "h w 4"]:
    """The object in its box: colours of the frame, alpha of the mask.

    The edge fades over about a pixel, inside the mask; one that the frame cuts does
    not. Colours go on a little beyond the edge, so that scaling brings no dark seam,
    and are black farther out.
    """
    # One that touches the frame's edge goes on beyond it.
    near = tuple(
        slice(max(side.start - 3, 0), min(side.stop + 3, size))
        for side, size in zip(box, mask.shape, strict=True)
    )
    inner = tuple(
        slice(side.start - around.start, side.stop - around.start)
        for side, around in zip(box, near, strict=True)
    )
    solid = mask[near].astype(np.uint8)
    fading = cv2.GaussianBlur(
        solid * np.uint8(255), (0, 0), SOFT, borderType=cv2.BORDER_REPLICATE
    )
    alpha = (fading * solid)[inner]
    coloured = cv2.dilate(solid, BEYOND)[inner]
    return np.dstack([image[box] * coloured[..., None], alpha])


def _note(path: pathlib.Path, index: int, box: tuple[slice, slice]) -> None:
    rows, columns = box
    new = not path.exists()
    with path.open("a") as stream:
        if new:
            stream.write("frame,x,y,width,height\n")
        sides = (columns.stop - columns.start, rows.stop - rows.start)
        stream.write(f"{index},{columns.start},{rows.start},{sides[0]},{sides[1]}\n")
