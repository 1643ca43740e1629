"""The routes with the parts of public checkpoints, at tiny size."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from jog3r.alignment import PairPointmaps, star
from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.features import TextFeatures
from jog3r.codecs.temporal_autoencoder import TemporalAutoencoder
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import AlignmentError, InputError, MissingPartError
from jog3r.heads.dust3r import DUSt3R
from jog3r.model import JOG3R
from jog3r.routes import video_to_cameras
from jog3r.routes.arguments import AlignmentOptions
from jog3r.routes.pointmaps import (
    image_pointmaps,
    seen_frames,
    video_pointmaps,
    video_tokens,
    working_size,
)
from jog3r.routes.prompts import encode_texts, guided_texts
from jog3r.stitch import StitchedModel

SMALL = {"hidden_size": 48, "depth": 2, "num_heads": 3, "caption_channels": 8}
K = torch.tensor([[15.0, 0.0, 8.0], [0.0, 15.0, 8.0], [0.0, 0.0, 1.0]])


def lively(model: JOG3R) -> JOG3R:
    """Give a value to what starts at zero."""
    torch.manual_seed(3)
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def opensora_10() -> JOG3R:
    backbone = SMALL | {"max_text_tokens": 6, "input_size": (4, 8, 8)}
    config = JOG3R.Config(
        image_size=(16, 16),
        num_frames=4,
        guidance_scale=7.0,
        num_inference_steps=10,
        autoencoder=FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=4),
        text_encoder=None,
        network=StitchedModel.Config(
            backbone_config=backbone,
            tap=1,
            decoder_width=32,
            decoder_depth=1,
            decoder_heads=2,
            patch=4,
        ),
        schedule=NoiseSchedule(prediction_type="epsilon", solver="iddpm"),
    )
    torch.manual_seed(0)
    return lively(JOG3R(config))


@pytest.fixture(scope="module")
def opensora_12() -> JOG3R:
    spatial = FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=4)
    temporal = TemporalAutoencoder.Config(filters=8, res_blocks=1, groups=4)
    config = JOG3R.Config(
        image_size=(16, 16),
        num_frames=17,
        guidance_scale=7.0,
        num_inference_steps=12,
        autoencoder=VideoAutoencoder.Config(spatial=spatial, temporal=temporal),
        text_encoder=None,
        network=StitchedModel.Config(
            backbone="stdit3",
            backbone_config=SMALL | {"max_text_tokens": 6},
            tap=1,
            decoder_width=32,
            decoder_depth=1,
            decoder_heads=2,
            patch=4,
        ),
        schedule=RectifiedFlow(),
    )
    torch.manual_seed(0)
    return lively(JOG3R(config))


@pytest.fixture
def prompt(generator: torch.Generator) -> TextFeatures:
    features = torch.randn(6, 8, generator=generator)
    return TextFeatures(features, torch.arange(6) < 4)


class TestTexts:
    def test_no_prompt_is_the_null_text(self, opensora_10: JOG3R, prompt: TextFeatures) -> None:
        features, mask = encode_texts(opensora_10, ["", prompt])
        null = opensora_10.stitched.backbone.null_text(1)[0]
        assert torch.equal(features[0], null)
        assert mask.sum(dim=1).tolist() == [6, 4]
        assert torch.equal(features[1], prompt.features)

    def test_guidance_keeps_the_mask_of_the_prompt(
        self, opensora_10: JOG3R, prompt: TextFeatures
    ) -> None:
        short = TextFeatures(prompt.features[:3], prompt.mask[:3])
        features, mask = guided_texts(opensora_10, "", [prompt, short])
        null = opensora_10.stitched.backbone.null_text(1)[0]
        assert torch.equal(features[:2], null.expand(2, -1, -1))
        assert mask.sum(dim=1).tolist() == [4, 3, 4, 3]

    @pytest.mark.parametrize("scale", [1.0, 7.0])
    def test_features_longer_than_the_null_text(self, opensora_10: JOG3R, scale: float) -> None:
        long = TextFeatures(torch.zeros(7, 8), torch.ones(7, dtype=torch.bool))
        with pytest.raises(InputError, match="prompt: expected features of at most 6 tokens"):
            opensora_10.generate(long, guidance_scale=scale, progress=False)

    @pytest.mark.parametrize("scale", [1.0, 7.0])
    def test_features_of_another_width(self, opensora_10: JOG3R, scale: float) -> None:
        wide = TextFeatures(torch.zeros(3, 9), torch.ones(3, dtype=torch.bool))
        with pytest.raises(InputError, match="of width 8, which the backbone takes, got 9"):
            opensora_10.generate(wide, guidance_scale=scale, progress=False)

    def test_a_model_that_only_encodes_takes_features(
        self, opensora_10: JOG3R, prompt: TextFeatures
    ) -> None:
        config = dataclasses.replace(opensora_10.config, network=None)
        features, _ = encode_texts(JOG3R(config), [prompt])
        assert torch.equal(features[0], prompt.features)
        with pytest.raises(MissingPartError, match="network: expected a model with this part"):
            JOG3R(config).generate("a red cube", progress=False)

    def test_words_without_a_text_encoder(self, opensora_10: JOG3R) -> None:
        with pytest.raises(MissingPartError, match="text_encoder: expected a model with this part"):
            opensora_10.generate("a red cube", progress=False)

    def test_a_models_own_encoder_takes_the_empty_prompt(self, tiny_model: JOG3R) -> None:
        features, mask = encode_texts(tiny_model, ["", "a red cube"])
        expected, expected_mask = tiny_model.text_encoder(["", "a red cube"])
        assert torch.equal(features, expected)
        assert torch.equal(mask, expected_mask)


class TestOpenSora10:
    def test_samples_do_not_depend_on_their_company(
        self, opensora_10: JOG3R, prompt: TextFeatures
    ) -> None:
        alone = opensora_10.generate(prompt, seed=5, progress=False)
        both = opensora_10.generate(prompt, seed=[4, 5], progress=False)
        assert alone.prompt == ""
        difference = alone.video.frames.int() - both[1].video.frames.int()
        assert difference.abs().max() <= 1
        assert not torch.equal(both[0].video.frames, both[1].video.frames)

    def test_guidance_and_steps_are_the_checkpoints(
        self, opensora_10: JOG3R, prompt: TextFeatures
    ) -> None:
        steps: list[float] = []

        def count(index: int, timestep: float, latents: torch.Tensor) -> None:
            steps.append(timestep)

        options: dict[str, Any] = {"seed": 1, "progress": False}
        default = opensora_10.generate(prompt, callback=count, **options)
        assert (len(steps), steps[0], steps[-1]) == (10, 999.0, 0.0)
        given = opensora_10.generate(prompt, guidance_scale=7.0, num_inference_steps=10, **options)
        assert default == given
        assert default != opensora_10.generate(prompt, guidance_scale=2.0, **options)

    def test_guidance_of_some_channels(self, opensora_10: JOG3R, prompt: TextFeatures) -> None:
        config = dataclasses.replace(
            opensora_10.config, guided_channels=3, schedule=NoiseSchedule(solver="ddim")
        )
        some = JOG3R(config).eval()
        some.load_state_dict(opensora_10.state_dict())
        every = copy.deepcopy(some)
        every.config = dataclasses.replace(config, guided_channels=None)
        made: list[list[torch.Tensor]] = []
        for model in (some, every):
            made.append([])
            take = made[-1].append
            options: dict[str, Any] = {"num_inference_steps": 2, "progress": False}
            model.generate(prompt, callback=lambda i, t, x, take=take: take(x), **options)
        first, other = made[0][0], made[1][0]
        torch.testing.assert_close(first[:, :3], other[:, :3])
        assert not torch.allclose(first[:, 3], other[:, 3], atol=1e-3)

    def test_a_negative_prompt_of_features(self, opensora_10: JOG3R, prompt: TextFeatures) -> None:
        away = TextFeatures(-prompt.features, prompt.mask)
        shots = [
            opensora_10.generate(prompt, negative_prompt=negative, progress=False)
            for negative in ("", away)
        ]
        assert shots[0] != shots[1]

    def test_cameras_come_from_the_null_text(
        self, opensora_10: JOG3R, prompt: TextFeatures, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from jog3r.routes import text_to_video_and_cameras as route

        seen: dict[str, Any] = {}
        joint, decode = opensora_10.stitched.joint, route.token_pointmaps

        def spy(latents: torch.Tensor, times: torch.Tensor, *text: Any, **told: Any) -> Any:
            seen["latents"], seen["times"] = latents[-1:], times[-1:]
            return joint(latents, times, *text, **told)

        def catch(model: JOG3R, tokens: torch.Tensor, pairs: torch.Tensor) -> Any:
            seen["tokens"] = tokens
            return decode(model, tokens, pairs)

        monkeypatch.setattr(opensora_10.stitched, "joint", spy)
        monkeypatch.setattr(route, "token_pointmaps", catch)
        # Untrained pointmaps may call for no camera; the video comes either way.
        try:
            shot = opensora_10.generate(prompt, cameras=True, seed=2, progress=False)
        except AlignmentError as error:
            (shot,) = error.generations
        assert shot.video == opensora_10.generate(prompt, seed=2, progress=False).video
        expected = opensora_10.stitched.tokens(
            seen["latents"], seen["times"], *encode_texts(opensora_10, [""])
        )
        torch.testing.assert_close(seen["tokens"], expected[0], atol=1e-5, rtol=1e-4)

    def test_v2c_needs_no_text_encoder(self, opensora_10: JOG3R) -> None:
        frames = torch.rand(3, 3, 16, 16) * 2 - 1
        pairs = video_pointmaps(opensora_10, frames, star(3))
        assert pairs.points_j.shape == (2, 16, 16, 3)


class TestOpenSora12:
    def test_text_to_video(self, opensora_12: JOG3R, prompt: TextFeatures) -> None:
        shot = opensora_12.generate(prompt, progress=False)
        assert shot.video.frames.shape == (17, 16, 16, 3)
        assert len(opensora_12.generate(prompt, num_frames=5, progress=False).video) == 5

    def test_cameras_need_steps_enough(self, opensora_12: JOG3R, prompt: TextFeatures) -> None:
        with pytest.raises(InputError, match="num_inference_steps: expected at least"):
            opensora_12.generate(prompt, cameras=True, num_inference_steps=1, progress=False)

    def test_v2c_gives_cameras_where_latents_end(
        self, opensora_12: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = torch.rand(17, 3, 16, 16) * 2 - 1
        assert video_tokens(opensora_12, frames[None], [0]).shape == (1, 5, 16, 48)
        seen = seen_frames(opensora_12, 17)
        assert seen == [0, 4, 8, 12, 16]
        pairs = video_pointmaps(opensora_12, frames, star(5))
        assert pairs.points_j.shape == (4, 16, 16, 3)

        def flat(*inputs: Any, **told: Any) -> Any:
            return wall(5, 16)

        # Untrained pointmaps may call for no camera.
        monkeypatch.setattr(video_to_cameras, "video_pointmaps", flat)
        lenses = K + torch.zeros(17, 1, 1)
        lenses[seen, 0, 0] = lenses[seen, 1, 1] = 20.0
        scene = opensora_12.reconstruct(frames, K=lenses, refine=None, progress=False)
        assert len(scene.video) == len(scene.cameras) == 5
        assert scene.video.frames.shape == (5, 16, 16, 3)
        assert scene.cameras.K[:, 0, 0].tolist() == [20.0] * 5

    def test_the_network_is_told_the_rate_of_the_video(
        self, opensora_12: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[float] = []
        tokens = opensora_12.stitched.tokens

        def spy(*inputs: Any, video_format: Any) -> Any:
            told.append(float(video_format.fps[0]))
            return tokens(*inputs, video_format=video_format)

        monkeypatch.setattr(opensora_12.stitched, "tokens", spy)
        frames = torch.rand(5, 3, 16, 16) * 2 - 1
        video_pointmaps(opensora_12, frames, star(2), fps=30.0)
        video_pointmaps(opensora_12, frames, star(2))
        assert told == [30.0, opensora_12.config.fps]

    @pytest.mark.parametrize("frames", [2, 4])
    def test_clips_of_one_latent(
        self, opensora_12: JOG3R, prompt: TextFeatures, frames: int
    ) -> None:
        message = f"video: expected at least 5 frames, .* got {frames}"
        with pytest.raises(InputError, match=message):
            opensora_12.reconstruct(torch.zeros(frames, 3, 16, 16), progress=False)
        with pytest.raises(InputError, match=message):
            opensora_12.generate(prompt, cameras=True, num_frames=frames, progress=False)


def wall(frames: int, size: int) -> PairPointmaps:
    """Return the pointmaps of a slanted wall that nothing moves before."""
    rows, columns = torch.meshgrid(*[torch.arange(size) + 0.5] * 2, indexing="ij")
    depth = 2.0 + 0.02 * columns
    points = torch.stack([(columns - 8) / 20 * depth, (rows - 8) / 20 * depth, depth], dim=-1)
    maps = points.expand(frames - 1, -1, -1, -1)
    partners = torch.arange(1, frames)
    sure = torch.full((frames - 1, size, size), 3.0)
    return PairPointmaps(
        pairs=torch.stack([torch.zeros_like(partners), partners], dim=1),
        points_i=maps,
        points_j=maps,
        confidence_i=sure,
        confidence_j=sure,
    )


class TestWithoutAHead:
    @pytest.fixture
    def headless(self, opensora_10: JOG3R) -> JOG3R:
        network = dataclasses.replace(opensora_10.stitched.config, tap=None)
        model = JOG3R(dataclasses.replace(opensora_10.config, network=network))
        state = opensora_10.state_dict()
        model.load_state_dict({name: state[name] for name in model.state_dict()})
        return model.eval().requires_grad_(False)

    def test_it_generates(self, headless: JOG3R, opensora_10: JOG3R, prompt: TextFeatures) -> None:
        shots = [model.generate(prompt, progress=False) for model in (headless, opensora_10)]
        assert shots[0] == shots[1]

    def test_it_says_that_it_does_not_reconstruct(
        self, headless: JOG3R, prompt: TextFeatures
    ) -> None:
        message = "network: expected a backbone with a pointmap head"
        with pytest.raises(InputError, match=message):
            headless.generate(prompt, cameras=True, progress=False)
        with pytest.raises(InputError, match=message):
            headless.reconstruct(torch.zeros(2, 3, 16, 16), progress=False)


class TestDUSt3R:
    @pytest.fixture
    def model(self) -> JOG3R:
        network = DUSt3R.Config(
            encoder_width=48,
            encoder_depth=2,
            encoder_heads=3,
            decoder_width=32,
            decoder_depth=2,
            decoder_heads=2,
            head="linear",
        )
        config = JOG3R.Config(
            image_size=(64, 64),
            autoencoder=None,
            text_encoder=None,
            schedule=None,
            network=network,
            licence="CC-BY-NC-SA-4.0",
        )
        torch.manual_seed(1)
        return lively(JOG3R(config))

    def test_a_folder_of_it_reconstructs(self, model: JOG3R, tmp_path: Path) -> None:
        model.save_pretrained(tmp_path, dtype=torch.float32)
        again = JOG3R.from_pretrained(tmp_path)
        frames = torch.rand(3, 3, 48, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
        lens = torch.tensor([[90.0, 0.0, 48.0], [0.0, 90.0, 24.0], [0.0, 0.0, 1.0]])
        scenes = [m.reconstruct(frames, K=lens, progress=False) for m in (model, again)]
        assert scenes[0].depth.shape == (3, 48, 96)
        assert scenes[0].cameras.image_size == (48, 96)
        assert torch.equal(scenes[0].cameras.world_from_camera, scenes[1].cameras.world_from_camera)
        torch.testing.assert_close(scenes[0].cameras.world_from_camera[0], torch.eye(4))

    @pytest.mark.parametrize(
        ("source", "expected"),
        [((48, 96), (32, 64)), ((96, 48), (64, 32)), ((10, 1000), (16, 64)), ((64, 64), (64, 64))],
    )
    def test_frames_keep_their_shape(
        self, model: JOG3R, source: tuple[int, int], expected: tuple[int, int]
    ) -> None:
        assert working_size(model, source) == expected

    @pytest.mark.parametrize("size", [(32, 64), (64, 32)])
    def test_pointmaps_are_those_of_the_pairs(self, model: JOG3R, size: tuple[int, int]) -> None:
        frames = torch.rand(4, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
        pairs = image_pointmaps(model.network, frames, star(4), chunk=2)  # type: ignore[arg-type]
        assert pairs.pairs.tolist() == [[0, 1], [0, 2], [0, 3]]
        first, second = model.network(frames[:1].expand(3, -1, -1, -1), frames[1:])
        torch.testing.assert_close(pairs.points_i, first.points, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(pairs.points_j, second.points, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(pairs.confidence_j, second.confidence, atol=1e-5, rtol=1e-4)

    def test_its_own_graph_pairs_every_frame(
        self, model: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from jog3r.routes import video_to_cameras as route

        asked: list[int] = []

        def spy(pairs: Any, *inputs: Any, **more: Any) -> Any:
            asked.append(len(pairs.pairs))
            raise AlignmentError("video: expected a clip, got a spy; try another")

        monkeypatch.setattr(route, "align_pointmaps", spy)
        for graph in (None, "star"):
            with pytest.raises(AlignmentError):
                model.reconstruct(torch.zeros(3, 3, 32, 32), graph=graph, progress=False)
        assert asked == [6, 2]

    def test_refinement_is_the_checkpoints(
        self, model: JOG3R, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from jog3r.routes import video_to_cameras as route

        asked: list[str | None] = []

        def spy(pairs: Any, video: Any, options: AlignmentOptions, **more: Any) -> Any:
            asked.append(options.refine)
            raise AlignmentError("video: expected a clip, got a spy; try another")

        monkeypatch.setattr(route, "align_pointmaps", spy)
        frames = torch.zeros(2, 3, 32, 32)
        plain = JOG3R(dataclasses.replace(model.config, refine=None)).eval()
        cases: list[tuple[JOG3R, dict[str, Any]]]
        cases = [(model, {}), (plain, {}), (plain, {"refine": "photometric"})]
        for each, options in cases:
            with pytest.raises(AlignmentError):
                each.reconstruct(frames, progress=False, **options)
        assert asked == ["photometric", None, "photometric"]

    def test_in_half_precision(self, model: JOG3R) -> None:
        half = copy.deepcopy(model).to(torch.bfloat16)
        frames = torch.rand(2, 3, 32, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
        rough, exact = (video_pointmaps(each, frames, star(2)) for each in (half, model))
        assert rough.points_j.dtype == torch.float32
        torch.testing.assert_close(rough.points_j, exact.points_j, atol=0.1, rtol=0.1)

    def test_it_does_not_generate(self, model: JOG3R) -> None:
        for cameras in (False, True):
            with pytest.raises(InputError, match="network: expected a video backbone, got DUSt3R"):
                model.generate("a red cube", cameras=cameras, progress=False)
        with pytest.raises(InputError, match="network: expected a video backbone, got DUSt3R"):
            _ = model.stitched
