from typing import Any

import numpy as np
import pytest

from jog3r.alignment import Regularisers
from jog3r.errors import InputError
from jog3r.routes.arguments import (
    AlignmentOptions,
    SamplingOptions,
    pair_up,
    whole_number,
)


def options(**changed: Any) -> SamplingOptions:
    usual: dict[str, Any] = {
        "negative_prompt": "",
        "guidance_scale": 4.0,
        "steps": 2,
        "frames": 4,
        "callback": None,
        "progress": False,
    }
    return SamplingOptions(**usual | changed)


class TestPairs:
    @pytest.mark.parametrize(
        ("prompt", "seed", "prompts", "seeds"),
        [
            ("a", 3, ["a"], [3]),
            ("a", [3, 5], ["a", "a"], [3, 5]),
            (["a", "b"], 3, ["a", "b"], [3, 4]),
            (("a", "b"), (5, 3), ["a", "b"], [5, 3]),
            (["a"], range(1), ["a"], [0]),
        ],
    )
    def test_one_of_each_per_sample(
        self, prompt: Any, seed: Any, prompts: list[str], seeds: list[int]
    ) -> None:
        assert pair_up(prompt, seed) == (prompts, seeds)

    @pytest.mark.parametrize(
        ("prompt", "seed", "says"),
        [
            (["a", "b"], [1, 2, 3], "got 2 prompts and 3 seeds"),
            (["a"], [1, 2], "got 1 prompts and 2 seeds"),
            ([], 0, "got 0 prompts"),
            ("a", [], "got 0 prompts and 0 seeds"),
            (None, 0, "prompt: expected a string, TextFeatures or a list of them, got None"),
            (["a", 3], 0, "prompt: expected a string, TextFeatures or a list of them"),
            ("a", -1, "seed: expected a whole number .*, got -1"),
            ("a", [1, 2.5], r"seed: expected a whole number .*, got 2\.5"),
            ("a", "7", "seed: expected a whole number"),
            ("a", True, "seed: expected a whole number .*, got True"),
            ("a", 1 << 64, "seed: expected a whole number"),
            (["a", "b"], (1 << 63) - 1, "seed: expected a whole number"),
        ],
    )
    def test_what_does_not_pair(self, prompt: Any, seed: Any, says: str, as_a_user: None) -> None:
        with pytest.raises(InputError, match=says):
            pair_up(prompt, seed)

    def test_numbers_of_numpy_become_plain(self) -> None:
        number = whole_number("seed", np.int64(3))
        assert (number, type(number)) == (3, int)


class TestSamplingOptions:
    def test_ends_of_the_ranges(self) -> None:
        options(steps=1, frames=1, guidance_scale=1.0)
        options(steps=1000, frames=256, guidance_scale=100)

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"steps": 0}, "num_inference_steps: expected 1 to 1000, got 0"),
            ({"steps": 1001}, "num_inference_steps: expected 1 to 1000, got 1001"),
            ({"steps": 2.5}, "num_inference_steps: expected a whole number"),
            ({"frames": 0}, "num_frames: expected 1 to 256, got 0"),
            ({"frames": 257}, "num_frames: expected 1 to 256, got 257"),
            ({"frames": "many"}, "num_frames: expected a whole number"),
            ({"guidance_scale": 0.5}, r"guidance_scale: expected 1 to 100, got 0\.5"),
            ({"guidance_scale": float("nan")}, "guidance_scale: expected 1 to 100, got nan"),
            ({"guidance_scale": True}, "guidance_scale: expected 1 to 100, got True"),
            ({"guidance_scale": "high"}, "guidance_scale: expected 1 to 100, got 'high'"),
            ({"callback": 3}, "callback: expected a function or None, got int"),
            (
                {"negative_prompt": None},
                "negative_prompt: expected a string or TextFeatures, got NoneType",
            ),
            (
                {"negative_prompt": "red", "guidance_scale": 1},
                "negative_prompt: expected an empty one with guidance_scale=1, got 'red'",
            ),
        ],
    )
    def test_out_of_range_or_of_the_wrong_type(
        self, changed: dict[str, Any], says: str, as_a_user: None
    ) -> None:
        with pytest.raises(InputError, match=says):
            options(**changed)


class TestAlignmentOptions:
    @pytest.mark.parametrize("refine", [None, "photometric", "bundle"])
    @pytest.mark.parametrize("graph", ["star", "window-3", "log-window-4", "complete", "auto"])
    def test_what_is_known_passes(self, refine: Any, graph: str) -> None:
        AlignmentOptions(regularisers=Regularisers.off(), refine=refine, graph=graph)

    def test_bundle_adjustment_follows_what_suits(self) -> None:
        cases = {
            (refine, suits): AlignmentOptions(regularisers=None, refine=refine, suits=suits)
            for refine in (None, "photometric", "bundle", "default")
            for suits in (None, "photometric")
        }
        photometric = {case for case, options in cases.items() if options.photometric}
        assert photometric == {
            ("photometric", None),
            ("photometric", "photometric"),
            ("bundle", "photometric"),
            ("default", "photometric"),
        }
        assert {refine for (refine, _), options in cases.items() if options.bundle} == {"bundle"}

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"regularisers": "smooth"}, "regularisers: expected .*Regularisers or None, got str"),
            ({"refine": "bundled"}, "refine: expected one of .* got 'bundled'"),
            ({"refine": np.zeros(2)}, "refine: expected one of"),
            ({"graph": "ring"}, "graph: expected star, window-N"),
            ({"graph": 3}, "graph: expected"),
            ({"window": 1}, "window: expected at least 2 frames, got 1"),
            ({"window": "all"}, "window: expected a whole number"),
            ({"overlap": 0}, "overlap: expected at least 1 frames, got 0"),
            ({"shared_focal": "no"}, "shared_focal: expected True or False, got str"),
            ({"shared_focal": False, "refine": "bundle"}, 'expected True beside refine="bundle"'),
        ],
    )
    def test_what_is_not(self, changed: dict[str, Any], says: str, as_a_user: None) -> None:
        options: dict[str, Any] = {"regularisers": None, "refine": None}
        with pytest.raises(InputError, match=says):
            AlignmentOptions(**options | changed)

    def test_a_weight_that_is_no_number(self, as_a_user: None) -> None:
        with pytest.raises(InputError, match="focal_smoothness: expected a finite weight"):
            Regularisers(focal_smoothness="strong")  # type: ignore[arg-type]
