"""The same model behind FastAPI, as a competent engineer would write it: onnxruntime, tokenizers, requests packed into batches.

    python scripts/peers/serve_fastapi.py FOLDER --port 8081

FOLDER is an unzipped bundle (`python -m zipfile -e x.frost FOLDER`). Takes what `POST /v1/predict` of `frosthead serve` takes,
and answers in the same shape, so that one load generator asks both. Needs fastapi, uvicorn (with uvloop and httptools),
onnxruntime, tokenizers, numpy: scripts/measure-serve.sh installs them.
"""

import argparse
import asyncio
import contextlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy
import onnxruntime
import uvicorn
from fastapi import FastAPI, Response
from pydantic import BaseModel
from tokenizers import Tokenizer

# Texts of a batch, and how long the first waits for others: usual values, not tuned on this machine.
BATCH = 32
WAIT = 0.002


class Request(BaseModel):
    texts: list[str]


def load(folder: Path):
    manifest = json.loads((folder / "manifest.json").read_text())
    labels = json.loads((folder / "labels.json").read_text())
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tasks = [task["task"] for task in manifest["tasks"]]
    names = labels if isinstance(labels, list) else [labels[task] for task in tasks]
    return tokenizer, session, tasks, names


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8081)
    arguments = parser.parse_args()
    tokenizer, session, tasks, names = load(arguments.folder)
    waiting, pool = asyncio.Queue(maxsize=2048), ThreadPoolExecutor(1)

    @contextlib.asynccontextmanager
    async def lifespan(_):
        task = asyncio.create_task(batches())
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)

    def compute(texts):
        """Pads to the longest text of the batch, as transformers' tokenizers do."""
        encoded = tokenizer.encode_batch_fast(texts)
        length = max(len(one.ids) for one in encoded)
        ids = numpy.zeros((len(texts), length), numpy.int64)
        mask = numpy.zeros((len(texts), length), numpy.int64)
        for row, one in enumerate(encoded):
            ids[row, : len(one.ids)] = one.ids
            mask[row, : len(one.ids)] = 1
        outputs = session.run(
            [f"probabilities_{task}" for task in tasks], {"input_ids": ids, "attention_mask": mask}
        )
        return [
            {
                task: {
                    "label": labels[int(row.argmax())],
                    "probability": float(row.max()),
                    "abstained": False,
                }
                for task, labels, row in zip(tasks, names, rows)
            }
            for rows in zip(*outputs)
        ]

    async def batches():
        loop = asyncio.get_running_loop()
        while True:
            batch = [await waiting.get()]
            until = loop.time() + WAIT
            while len(batch) < BATCH and (left := until - loop.time()) > 0:
                try:
                    batch.append(await asyncio.wait_for(waiting.get(), left))
                except asyncio.TimeoutError:
                    break
            answers = await loop.run_in_executor(pool, compute, [text for text, _ in batch])
            for (_, future), answer in zip(batch, answers):
                if not future.done():
                    future.set_result(answer)

    @app.post("/v1/predict")
    async def predict(request: Request, response: Response):
        futures = []
        for text in request.texts:
            future = asyncio.get_running_loop().create_future()
            try:
                waiting.put_nowait((text, future))
            except asyncio.QueueFull:
                response.status_code = 429
                return {"error": "full"}
            futures.append(future)
        return {"results": [{"tasks": await future} for future in futures]}

    uvicorn.run(app, port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
