"""The ten lines around OpenCV that many services have: what `benchmarks/service.py` compares with."""

from typing import Annotated

import cv2
import numpy as np
from fastapi import FastAPI, File, UploadFile

app = FastAPI()


@app.post("/v1/verdicts")
async def judge(photos: Annotated[UploadFile, File()]) -> dict[str, object]:
    """Decide by the variance of the Laplacian."""
    gray = cv2.imdecode(np.frombuffer(await photos.read(), np.uint8), cv2.IMREAD_GRAYSCALE)
    variance = float(cv2.Laplacian(gray, cv2.CV_64F).var())
    return {"decision": "blurred" if variance < 100 else "sharp", "variance": variance}
