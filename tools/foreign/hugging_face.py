"""Flax models of transformers 4, the last release that has them, in small sizes with random weights.

They have an environment of their own: `nox -s "foreign(transformers)"`. Other libraries need a newer huggingface-hub.
"""

from typing import Any

import jax
import jax.numpy as jnp

from .catalogue import Made, program

IDS = jnp.array([[5, 17, 3, 42, 8, 1, 1], [9, 2, 33, 7, 21, 60, 4]])
MASK = jnp.array([[1, 1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1, 1]])
LEFT_PADDED = MASK[:, ::-1]
POSITIONS = jnp.clip(jnp.cumsum(LEFT_PADDED, -1) - 1, 0)
PICTURE = jnp.sin(jnp.arange(2.0 * 3 * 32 * 32)).reshape(2, 3, 32, 32)
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {**SMALL, "vocab_size": 64, "max_position_embeddings": 32}


def _made(model_name: str, config_name: str, *arguments: Any, inputs: tuple[str, ...] = (), **config: Any) -> Made:
    """The call of a model as a function of arrays, given by position or, where they are named, by keyword."""
    import transformers

    model = getattr(transformers, model_name)(getattr(transformers, config_name)(**config), seed=0)

    def call(*arrays: jax.Array) -> Any:
        named = dict(zip(inputs, arrays, strict=True)) if inputs else {}
        results = model(*(() if inputs else arrays), **named)
        return {name: value for name, value in results.items() if isinstance(value, jax.Array)}

    return call, arguments


@program("transformers", "BERT, padded")
def _bert() -> Made:
    return _made("FlaxBertModel", "BertConfig", IDS, MASK, **TEXT)


@program("transformers", "RoBERTa, masked language model")
def _roberta() -> Made:
    return _made("FlaxRobertaForMaskedLM", "RobertaConfig", IDS, MASK, **TEXT)


@program("transformers", "GPT-2, padded on the left")
def _gpt2() -> Made:
    config = {"vocab_size": 64, "n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4}
    return _made("FlaxGPT2LMHeadModel", "GPT2Config", IDS, LEFT_PADDED, POSITIONS, **config)


@program("transformers", "GPT-2, one token with the cache of those before")
def _gpt2_step() -> Made:
    import transformers

    config = transformers.GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=4)
    model = transformers.FlaxGPT2LMHeadModel(config, seed=0)
    mask, whole = jnp.ones((2, 16), jnp.int32), jnp.broadcast_to(jnp.arange(7), (2, 7))
    cache = model(IDS, attention_mask=mask, position_ids=whole, past_key_values=model.init_cache(2, 16)).past_key_values

    def step(cache: Any, token: jax.Array, position: jax.Array) -> Any:
        results = model(token, attention_mask=mask, position_ids=position, past_key_values=cache)
        return results.logits, results.past_key_values

    return step, (cache, IDS[:, :1], jnp.full((2, 1), 7))


@program("transformers", "Llama, padded on the left")
def _llama() -> Made:
    config = {**TEXT, "num_key_value_heads": 2}
    return _made("FlaxLlamaForCausalLM", "LlamaConfig", IDS, LEFT_PADDED, POSITIONS, **config)


class _OldNumpy:
    """`jax.numpy`, whose `clip` takes the name of its bound that JAX has removed and transformers' T5 still says."""

    def __getattr__(self, name: str) -> Any:
        return getattr(jnp, name)

    def clip(self, x: jax.Array, a_max: Any) -> jax.Array:
        return jnp.clip(x, max=a_max)


@program("transformers", "T5, with the old name of an argument of jnp.clip")
def _t5() -> Made:
    from transformers.models.t5 import modeling_flax_t5

    modeling_flax_t5.jnp = _OldNumpy()
    config = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    return _made("FlaxT5ForConditionalGeneration", "T5Config", IDS, MASK, IDS[:, :3], inputs=names, **config)


@program("transformers", "ViT")
def _vit() -> Made:
    return _made("FlaxViTForImageClassification", "ViTConfig", PICTURE, image_size=32, patch_size=8, **SMALL)


@program("transformers", "CLIP")
def _clip() -> Made:
    config: dict[str, Any] = {"vision_config": {**SMALL, "image_size": 32, "patch_size": 8}, "projection_dim": 16}
    config["text_config"] = {**TEXT, "eos_token_id": 63}
    return _made("FlaxCLIPModel", "CLIPConfig", IDS, PICTURE, MASK, **config)


@program("transformers", "Whisper")
def _whisper() -> Made:
    config: dict[str, Any] = {"vocab_size": 64, "num_mel_bins": 16, "d_model": 32, "max_source_positions": 20}
    config |= {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 2), ("ffn_dim", 64))}
    config |= {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "max_target_positions": 16}
    config |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    sound = jnp.sin(jnp.arange(2.0 * 16 * 40)).reshape(2, 16, 40)
    names = ("input_features", "decoder_input_ids")
    return _made("FlaxWhisperForConditionalGeneration", "WhisperConfig", sound, IDS[:, :4], inputs=names, **config)


@program("transformers", "Wav2Vec2")
def _wav2vec2() -> Made:
    config = {**SMALL, "conv_dim": (16, 16), "conv_kernel": (5, 3), "conv_stride": (3, 2)}
    config |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 16}
    config |= {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    return _made("FlaxWav2Vec2ForCTC", "Wav2Vec2Config", jnp.sin(jnp.arange(2.0 * 400)).reshape(2, 400), **config)
