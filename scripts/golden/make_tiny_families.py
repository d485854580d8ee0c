#!/usr/bin/env python3
"""Writes tiny random encoders of every family as hubs have them, and what transformers and PyTorch compute from each.

usage: make_tiny_families.py OUT_DIR      (needs torch, transformers, tokenizers, sentence-transformers, safetensors)

OUT_DIR/FAMILY/  config.json, model.safetensors, tokenizer.json (trained on the sentences below in the family's own form), perhaps
                 modules.json, 1_Pooling, 2_Dense, 2_Normalize; and
  golden.json         versions; `texts`, `ids` (special tokens included, as `tokenizers` gives them); `train`: texts, labels, loss
  golden.safetensors  f32, eager attention, one text at a time:
    embedding           [texts, 32 or 20]   by sentence-transformers, which reads the directory itself
    state.L             [all tokens of all texts, 32]   L = 0 (embeddings) … layers
    head.weight, .bias  [3, 32 or 20], [3]
    grad.NAME           of the mean cross entropy of the head on the mean over real tokens (behind it the Dense, if there is one), a batch of four texts padded to the longest;
                        of the tensors of the two top layers, by our names; for MPNet also of the bias that all layers share
mpnet/golden.json has `buckets`: the bucket of each distance from -600 to 600.

bert          BertModel alone                            WordPiece
roberta       RobertaForMaskedLM (`roberta.`, lm_head), sentence-transformers: max    byte-level BPE, <pad> = 1
xlm-roberta   XLMRobertaModel, sentence-transformers: cls, normalised     Unigram, <pad> = 1
camembert     CamembertForSequenceClassification, bf16   Unigram, <pad> = 3
distilbert    DistilBertForMaskedLM (`distilbert.`), sentence-transformers: mean, Dense 32 → 20 with tanh     WordPiece
mpnet         MPNetModel, sentence-transformers: mean, normalised, 300 positions     WordPiece with <s> … </s>
"""

import json
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import sentence_transformers
import tokenizers
import torch
import transformers as tf
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

out = Path(sys.argv[1])
torch.set_num_threads(1)
HIDDEN, LAYERS, HEADS, INNER = 32, 3, 4, 48
SENTENCES = """The battery died after two days, and nobody answered the phone.
Great phone, would buy it again without thinking!
Is the museum open on Mondays, or only at the weekend?
The senate passes the budget bill after a long night of talks.
A dull, lifeless film that wastes a wonderful cast.
Please cancel my order and refund the money to my card.
What is the capital of Australia, and how many people live there?
It was not good, it was not bad, it just was what it was.
Der Akku war nach zwei Tagen leer, und niemand ging ans Telefon.
Tolles Telefon, ich würde es jederzeit wieder kaufen!
La batería murió en dos días y nadie contestó el teléfono.
Le musée est ouvert le lundi, sauf pendant les fêtes.
Un film très réussi, porté par des acteurs étonnants.
Батарея села через два дня, и никто не ответил.
今天天气很好，我们去公园散步吧。
한국어 문장입니다. 오늘은 날씨가 좋습니다.
العربية لغة جميلة من اليمين إلى اليسار
It's don't can't won't they'll we've I'm you're he'd 1234 56,7 $8.90
unbelievable international television recommendation organisation""".split("\n")
TEXTS = [
    "The battery died after two days.",
    "Great phone, would buy again!",
    "ok",
    "",
    "   ",
    "!!!",
    "I can't believe it's not butter…",
    "Café déjà vu – naïve façade",
    "今天天气很好",
    "Привет, как дела?",
    "🙂🔥 emoji",
    "UPPER lower MiXeD 123 4,567.89",
    "line one\nline two\ttabbed",
    "  two  spaces  ",
    "한국어 문장입니다",
    "العربية",
    "A long review. The plot drags in the middle, the acting is fine, the score is lovely.",
]
LONG = " ".join(SENTENCES[:8]) + " " + " ".join(SENTENCES[:6])
BATCH = [
    "The battery died after two days.",
    "A dull, lifeless film.",
    "Is it open on Mondays?",
    "Please cancel my order and refund the money, it was not good.",
]
LABELS = [0, 1, 2, 1]


def word_piece(special, template, between=1):
    """BERT's pipeline; `special` are padding, unknown, first and last token, mask; so many last tokens stand between two texts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=special[1]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=420, special_tokens=template, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    first, last = special[2:4]
    ids = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A{between * f' {last}'} $B:1 {last}:1",
        special_tokens=ids,
    )
    return tokenizer


def byte_level():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)]
    trainer = trainers.BpeTrainer(
        vocab_size=440,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    return tokenizer


def unigram(special, split):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")]
    )
    metaspace = pre_tokenizers.Metaspace()
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]) if split else metaspace
    )
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=380, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES * 3, trainer)
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ids
    )
    return tokenizer


BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
XLMR = ["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)]
CAMEMBERT = ["<s>", "</s>", "<unk>", "<pad>", AddedToken("<mask>", lstrip=True)]
MPNET = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
MEAN, CLS, MAX = "mean_tokens", "cls_token", "max_tokens"
DENSE = "distilbert"
# family: tokenizer, configuration, class, pooling (None: no sentence-transformers files), type of the numbers, more of the configuration
FAMILIES = {
    "bert": (
        word_piece(BERT, BERT),
        tf.BertConfig,
        tf.BertModel,
        None,
        torch.float32,
        dict(max_position_embeddings=96, type_vocab_size=2),
    ),
    "roberta": (
        byte_level(),
        tf.RobertaConfig,
        tf.RobertaForMaskedLM,
        MAX,
        torch.float32,
        dict(max_position_embeddings=98, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "xlm-roberta": (
        unigram(XLMR, True),
        tf.XLMRobertaConfig,
        tf.XLMRobertaModel,
        CLS,
        torch.float32,
        dict(max_position_embeddings=98, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "camembert": (
        unigram(CAMEMBERT, False),
        tf.CamembertConfig,
        tf.CamembertForSequenceClassification,
        None,
        torch.bfloat16,
        dict(max_position_embeddings=100, type_vocab_size=1, layer_norm_eps=1e-5),
    ),
    "distilbert": (
        word_piece(BERT, BERT),
        tf.DistilBertConfig,
        tf.DistilBertForMaskedLM,
        MEAN,
        torch.float32,
        dict(max_position_embeddings=96),
    ),
    "mpnet": (
        word_piece(["<pad>", "[UNK]", "<s>", "</s>"], MPNET, between=2),
        tf.MPNetConfig,
        tf.MPNetModel,
        MEAN,
        torch.float32,
        dict(max_position_embeddings=302, layer_norm_eps=1e-5),
    ),
}
OURS = {
    "distilbert": [
        ("transformer.layer.", "encoder.layer."),
        ("attention.q_lin", "attention.self.query"),
        ("attention.k_lin", "attention.self.key"),
        ("attention.v_lin", "attention.self.value"),
        ("attention.out_lin", "attention.output.dense"),
        ("sa_layer_norm", "attention.output.LayerNorm"),
        ("ffn.lin1", "intermediate.dense"),
        ("ffn.lin2", "output.dense"),
        ("output_layer_norm", "output.LayerNorm"),
    ],
    "mpnet": [
        ("attention.attn.q.", "attention.self.query."),
        ("attention.attn.k.", "attention.self.key."),
        ("attention.attn.v.", "attention.self.value."),
        ("attention.attn.o.", "attention.output.dense."),
        ("attention.LayerNorm", "attention.output.LayerNorm"),
        ("encoder.relative_attention_bias.weight", "embeddings.position_bias.weight"),
    ],
}


def ours(family, name):
    for theirs, our in OURS.get(family, []):
        name = name.replace(theirs, our)
    return name


def write_modules(place, pooling, dense):
    behind = ("Dense", "2_Dense") if dense else ("Normalize", "2_Normalize")
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")] + ([] if pooling == MAX else [behind])
    if dense:
        (place / "2_Dense").mkdir(exist_ok=True)
        said = {
            "in_features": HIDDEN,
            "out_features": 20,
            "bias": True,
            "activation_function": "torch.nn.modules.activation.Tanh",
        }
        (place / "2_Dense/config.json").write_text(json.dumps(said) + "\n")
        save_file(
            {f"linear.{name}": tensor.detach().clone() for name, tensor in dense.named_parameters()},
            place / "2_Dense/model.safetensors",
        )
    listed = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(modules)
    ]
    (place / "modules.json").write_text(json.dumps(listed) + "\n")
    (place / "1_Pooling").mkdir(exist_ok=True)
    modes = {f"pooling_mode_{mode}": mode == pooling for mode in (CLS, MEAN, MAX, "mean_sqrt_len_tokens")}
    (place / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": HIDDEN, **modes}) + "\n"
    )
    (place / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 90, "do_lower_case": False}) + "\n"
    )


def encoder_of(model):
    return getattr(model, model.base_model_prefix, model)


def make(family):
    tokenizer, Config, Model, pooling, dtype, more = FAMILIES[family]
    place = out / family
    place.mkdir(parents=True, exist_ok=True)
    pad = next(token for token in ("[PAD]", "<pad>") if tokenizer.token_to_id(token) is not None)
    first = next(token for token in ("[CLS]", "<s>") if tokenizer.token_to_id(token) is not None)
    last = next(token for token in ("[SEP]", "</s>") if tokenizer.token_to_id(token) is not None)
    unknown = next(token for token in ("[UNK]", "<unk>") if tokenizer.token_to_id(token) is not None)
    sizes = (
        dict(dim=HIDDEN, n_layers=LAYERS, n_heads=HEADS, hidden_dim=INNER)
        if family == "distilbert"
        else dict(
            hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=INNER
        )
    )
    ids = {
        name: tokenizer.token_to_id(token)
        for name, token in (("pad_token_id", pad), ("bos_token_id", first), ("eos_token_id", last))
    }
    torch.manual_seed(20 + len(family))
    model = Model(Config(vocab_size=tokenizer.get_vocab_size(), **sizes, **ids, **more)).eval()
    with torch.no_grad():  # larger than a network's own start, so that activations, positions and padding make a visible difference
        for name, parameter in model.named_parameters():
            norm = "norm" in name.lower() and name.endswith("weight")
            parameter.copy_((torch.randn_like(parameter) * 0.25 + (1.0 if norm else 0.0)).to(dtype).float())
            if "relative_attention_bias" in name:
                parameter.mul_(4)
    model.tie_weights()
    model.to(dtype).save_pretrained(place)
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        cls_token=first,
        sep_token=last,
        unk_token=unknown,
        mask_token=next(token for token in ("[MASK]", "<mask>") if tokenizer.token_to_id(token) is not None),
        model_max_length=90,
    )
    fast.save_pretrained(place)
    dense = torch.nn.Linear(HIDDEN, 20) if family == DENSE else None
    if pooling:
        write_modules(place, pooling, dense)
    sentences = SentenceTransformer(
        str(place), device="cpu", model_kwargs={"dtype": torch.float32, "attn_implementation": "eager"}
    )
    texts = TEXTS + ([LONG] if family == "mpnet" else [])
    token_ids = [tokenizer.encode(text).ids for text in texts]
    golden = {"embedding": sentences.encode([t for t in TEXTS], batch_size=1, convert_to_tensor=True).float()}
    bert = encoder_of(
        tf.AutoModel.from_pretrained(place, dtype=torch.float32, attn_implementation="eager")
    ).eval()
    with torch.no_grad():
        states = [bert(torch.tensor([ids]), output_hidden_states=True).hidden_states for ids in token_ids]
    for level in range(LAYERS + 1):
        golden[f"state.{level}"] = torch.cat([state[level][0] for state in states])
    train(family, bert, tokenizer, golden, dense)
    save_file(
        {name: tensor.detach().contiguous().clone() for name, tensor in golden.items()},
        place / "golden.safetensors",
    )
    facts = {
        "versions": {
            "torch": torch.__version__,
            "transformers": tf.__version__,
            "tokenizers": tokenizers.__version__,
            "sentence-transformers": sentence_transformers.__version__,
        },
        "texts": texts,
        "ids": token_ids,
        "train": {"texts": BATCH, "labels": LABELS, "loss": LOSSES[family]},
    }
    if family == "mpnet":
        distances = torch.arange(-600, 601)
        facts["buckets"] = type(bert.encoder).relative_position_bucket(distances).tolist()
    (place / "golden.json").write_text(json.dumps(facts, ensure_ascii=False) + "\n")
    for extra in ("README.md", "special_tokens_map.json"):
        (place / extra).unlink(missing_ok=True)


LOSSES = {}


def train(family, bert, tokenizer, golden, dense):
    head = torch.nn.Linear(dense.out_features if dense else HIDDEN, 3)
    with torch.no_grad():
        head.weight.copy_(torch.randn_like(head.weight) * 0.3)
        head.bias.zero_()
    golden["head.weight"], golden["head.bias"] = head.weight.detach().clone(), head.bias.detach().clone()
    ids = [tokenizer.encode(text).ids for text in BATCH]
    longest, pad = max(map(len, ids)), bert.config.pad_token_id
    padded = torch.tensor([row + [pad] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    states = bert(padded, attention_mask=mask).last_hidden_state
    share = mask.unsqueeze(-1).float()
    pooled = (states * share).sum(1) / share.sum(1)
    seen = torch.tanh(dense(pooled)) if dense else pooled
    loss = torch.nn.functional.cross_entropy(head(seen), torch.tensor(LABELS))
    loss.backward()
    LOSSES[family] = loss.item()
    for name, parameter in bert.named_parameters():
        name = ours(family, name)
        top = any(name.startswith(f"encoder.layer.{layer}.") for layer in range(LAYERS - 2, LAYERS))
        if top or "position_bias" in name:
            golden[f"grad.{name}"] = parameter.grad


for family in sys.argv[2:] or FAMILIES:
    make(family)
    print(family, sum(file.stat().st_size for file in (out / family).rglob("*") if file.is_file()), "bytes")
