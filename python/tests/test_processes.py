"""Processes: pickles, forks, interrupts, the library that runs the network."""

import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

from frosthead import Classifier, Embedder, FrostheadError


def test_a_pickle_is_a_path_and_a_fingerprint(made, texts, tmp_path):
    for model, ask in [
        (Embedder(made / "backbone", threads=1), "encode"),
        (Classifier(made / "x.frost"), "predict_proba"),
    ]:
        data = pickle.dumps(model)
        assert len(data) < 600, "more than a path"
        again = pickle.loads(data)
        assert again.fingerprint == model.fingerprint and again.path == model.path
        ours, theirs = getattr(model, ask)(texts[:3]), getattr(again, ask)(texts[:3])
        np.testing.assert_equal(theirs, ours)
    copy = tmp_path / "x.frost"
    shutil.copy(made / "x.frost", copy)
    data = pickle.dumps(Classifier(copy))
    from frosthead import bundle, train

    train(
        made / "data.csv", tmp_path / "run", task="domain", backbone=made / "backbone", cache=made / "cache"
    )
    bundle(tmp_path / "run", copy, overwrite=True)
    with pytest.raises(FrostheadError, match="not the model that was asked for: found fingerprint"):
        pickle.loads(data)
    copy.unlink()
    with pytest.raises(FrostheadError, match="x.frost"):
        pickle.loads(data)


def test_a_fork_opens_the_model_again(made, texts):
    embedder, classifier = Embedder(made / "backbone"), Classifier(made / "x.frost")
    # Many, so that there are several sessions with threads of their own.
    vectors, labels = embedder.encode(texts), classifier.predict(texts)["domain"]
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe()

    def child():
        send.send((embedder.encode(texts), classifier.predict(texts)["domain"], os.getpid()))

    process = context.Process(target=child)
    process.start()
    assert receive.poll(120), "the child hangs"
    theirs, their_labels, pid = receive.recv()
    process.join(60)
    assert process.exitcode == 0 and pid != os.getpid()
    assert np.array_equal(theirs, vectors) and labels.tolist() == their_labels.tolist()
    assert np.array_equal(embedder.encode(texts), vectors), "and the parent goes on"


def test_a_fork_that_uses_nothing_ends(made):
    code = f"""
        import os, sys
        from frosthead import Embedder
        embedder = Embedder({str(made / "backbone")!r})
        embedder.encode(["a"] * 300)
        if os.fork() == 0:
            del embedder
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.wait()[1]))
    """
    done = run(code)
    assert done.stdout == "7\n", done.stderr


def run(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | environment,
    )


@pytest.mark.parametrize(
    "work",
    [
        "embedder.encode(texts)",
        "pa.table(embedder.encode_arrow(pa.table({'text': texts})))",
        "frosthead.train({'text': texts, 'task': ['a', 'b'] * (len(texts) // 2)}, out, task='task', backbone=backbone, cache=cache)",
        "classifier.predict(texts)",
    ],
)
def test_an_interrupt_is_heard(made, tmp_path, work):
    code = f"""
        import time, frosthead, pyarrow as pa
        backbone, out, cache = {str(made / "backbone")!r}, {str(tmp_path / "run")!r}, {str(tmp_path / "cache")!r}
        embedder, classifier = frosthead.Embedder(backbone), frosthead.Classifier({str(made / "x.frost")!r})
        texts = [f"text number {{number}} of very many " * 8 for number in range(200_000)]
        classifier.predict(texts[:300]), embedder.encode(texts[:300])
        print("ready", flush=True)
        try:
            try:
                {work}
            except pa.ArrowInvalid as error:
                assert "interrupted" in str(error)
            time.sleep(0)  # what Arrow's reader made of it is followed by the interrupt
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        print(embedder.encode(["a"]).shape, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert process.stdout.readline() == "interrupted\n"
        assert time.monotonic() - start < 5
        assert process.stdout.readline() == "(1, 384)\n", "what was interrupted can be used again"
        assert process.wait(30) == 0
    finally:
        process.kill()
    assert not (tmp_path / "run").exists()


def test_an_interrupt_ends_the_command(made, tmp_path):
    data = tmp_path / "many.csv"
    data.write_text("text\n" + "".join(f"text number {number} of very many\n" for number in range(100_000)))
    command = [
        sys.executable,
        "-m",
        "frosthead",
        "embed",
        data,
        "--backbone",
        made / "backbone",
        "--out",
        tmp_path / "x.parquet",
        "--cache",
        tmp_path / "cache",
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    time.sleep(5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT


def test_importing_is_fast_and_brings_nothing_heavy():
    code = """
        import sys, time
        start = time.perf_counter()
        import frosthead
        print(time.perf_counter() - start, [name for name in ("numpy", "onnxruntime", "sklearn", "pyarrow") if name in sys.modules])
    """
    seconds, heavy = min((run(code).stdout.split(" ", 1) for _ in range(5)), key=lambda each: float(each[0]))
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.1


def failing(made, code: str = "", **environment: str) -> str:
    code = f"""
        import sys, frosthead
        {code}
        try:
            frosthead.Embedder({str(made / "backbone")!r}).encode(["a"])
        except frosthead.FrostheadError as error:
            print(error.kind, error)
        else:
            print("works")
    """
    return run(code, **environment).stdout


def test_a_library_that_cannot_be_used(made, tmp_path):
    assert failing(made) == "works\n"
    hidden = "sys.modules['onnxruntime'] = None; import os; os.chdir('/')"
    said = failing(
        made,
        f"import importlib.util; importlib.util.find_spec = lambda name: None; import os; os.chdir({str(tmp_path)!r})",
    )
    assert (
        said.startswith("runtime no usable ONNX Runtime library was found")
        and "PyPI package `onnxruntime`" in said
    ), hidden
    import onnxruntime

    (library,) = [
        path
        for path in __import__("pathlib").Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*")
    ]
    content = bytearray(library.read_bytes())
    other = tmp_path / "libonnxruntime.so.1.32.0"
    # ELF: e_machine, of x86-64 and of aarch64.
    (machine,) = struct.unpack_from("<H", content, 18)
    struct.pack_into("<H", content, 18, 183 if machine == 62 else 62)
    other.write_bytes(content)
    said = failing(made, ORT_DYLIB_PATH=str(other))
    assert (
        said.startswith("runtime the ONNX Runtime library that was named cannot be used")
        and "AArch64" in said
    )
    old = tmp_path / "old/libonnxruntime.so.1.20.0"
    old.parent.mkdir()
    old.write_bytes(
        library.read_bytes().replace(b"VERS_1.32.0", b"VERS_1.20.0").replace(b"1.32.0\0", b"1.20.0\0")
    )
    said = failing(made, ORT_DYLIB_PATH=str(old))
    assert "version 1.20" in said and "too old" in said, said
