"""Photos to a prepared subject, offline: masks, backgrounds, features, a contact sheet."""

from idgen.prepare.captioners.captioner import Captioner
from idgen.prepare.captioners.clip import ClipCaptioner
from idgen.prepare.captioners.vlm import VlmCaptioner
from idgen.prepare.inpainters.backbone import BackboneInpainter
from idgen.prepare.inpainters.diffusers import DiffusersInpainter
from idgen.prepare.inpainters.hole import Hole
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.inpainters.opencv import OpenCVInpainter
from idgen.prepare.inpainters.scene_lora import SceneLora
from idgen.prepare.outcome import Outcome
from idgen.prepare.photos import Photo, find_photos, lone_photo_note, read_photo, subject_name
from idgen.prepare.preparation import Preparation
from idgen.prepare.segmenters.auto import AutoSegmenter
from idgen.prepare.segmenters.detector import BoxDetector
from idgen.prepare.segmenters.grabcut import GrabCutSegmenter
from idgen.prepare.segmenters.mask_files import MaskFiles
from idgen.prepare.segmenters.saliency import SaliencySegmenter
from idgen.prepare.segmenters.sam import Sam2Segmenter, SamSegmenter
from idgen.prepare.segmenters.sam3 import Sam3Segmenter
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.subject import PreparedSubject, SubjectViews
from idgen.prepare.subject_folders import find_subjects

__all__ = [
    "AutoSegmenter",
    "BackboneInpainter",
    "BoxDetector",
    "Captioner",
    "ClipCaptioner",
    "DiffusersInpainter",
    "GrabCutSegmenter",
    "Hole",
    "Inpainter",
    "MaskFiles",
    "OpenCVInpainter",
    "Outcome",
    "Photo",
    "Preparation",
    "PreparedSubject",
    "SaliencySegmenter",
    "Sam2Segmenter",
    "Sam3Segmenter",
    "SamSegmenter",
    "SceneLora",
    "Segmenter",
    "SubjectViews",
    "VlmCaptioner",
    "find_photos",
    "find_subjects",
    "lone_photo_note",
    "read_photo",
    "subject_name",
]
