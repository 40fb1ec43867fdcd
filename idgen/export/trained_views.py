"""The sizes of the views that a run was trained on, as kohya's metadata has them."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from idgen.backbones.backbone import Backbone
from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.prepare.buckets import Size


@dataclass(frozen=True)
class TrainedViews:
    """The sizes of a run's views.

    Attributes:
        side: Pixels on a side of a square view.
        buckets: All sizes that views may have; none where they are square.
        photos: Width by height of the buckets' photos, with that of their views; none where the
            photos are not there any more.
    """

    side: int
    buckets: tuple[Size, ...] = ()
    photos: tuple[tuple[float, Size], ...] = ()

    @classmethod
    def of(cls, data: SubjectDataModule, backbone: Backbone) -> "TrainedViews":
        """Those of a run.

        Args:
            data: Its data, not set up.
            backbone: Light or loaded.
        """
        preparation = data.preparation
        side = preparation.resolution or backbone.resolution
        if preparation.buckets is None:
            return cls(side)
        sizes = preparation.buckets.sizes(side, backbone.unit)
        try:
            photos = [
                (*photo.size(), preparation.view_size(photo, backbone)) for photo in data.photos
            ]
        except UserError:  # a checkpoint that has moved is exported without them
            photos = []
        return cls(side, sizes, tuple((width / height, view) for height, width, view in photos))

    def as_kohya_has_them(self) -> Mapping[str, str]:
        """What sd-scripts writes of resolution and buckets; a photo counts as one picture."""
        said = {
            "ss_resolution": f"({self.side}, {self.side})",
            "ss_enable_bucket": str(bool(self.buckets)),
        }
        if not self.buckets:
            return said
        sides = [side for size in self.buckets for side in size]
        said |= {
            "ss_bucket_no_upscale": "False",
            "ss_min_bucket_reso": str(min(sides)),
            "ss_max_bucket_reso": str(max(sides)),
        }
        return said | ({"ss_bucket_info": json.dumps(self._filled())} if self.photos else {})

    def _filled(self) -> Mapping[str, object]:
        """The buckets that photos are in, by their places among all, and how far off in aspect."""
        counts = Counter(size for _, size in self.photos)
        errors = [abs(size.width / size.height - aspect) for aspect, size in self.photos]
        return {
            "buckets": {
                str(place): {"resolution": [size.width, size.height], "count": counts[size]}
                for place, size in enumerate(self.buckets)
                if size in counts
            },
            "mean_img_ar_error": sum(errors) / len(errors),
        }
