"""A container gets its image, or says again and again why it does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from support.kubernetes import images
from support.kubernetes.node import Node
from support.kubernetes.pod_status import Shown

LONGEST_BACK_OFF_S = 30.0
_THERE = "already present on machine and can be accessed by the pod"


class Telling(Protocol):
    """Tells of a pod."""

    def __call__(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Add an event."""


@dataclass
class Pull:
    """Of the image of one container."""

    node: Node
    container: Shown
    tell: Telling
    show: Callable[[], None]
    """Has the API know how the container is."""

    async def done(self) -> None:
        """Return as soon as the image is there."""
        image: str = self.container.spec["image"]
        pause = self.node.world.settings.back_off_s
        while True:
            if why := self._cannot(image):
                self.container.waits(*why)
                self.tell("InspectFailed" if why[0] == "InvalidImageName" else why[0], why[1], warning=True)
                self.tell("Failed", f"Error: {why[0]}", warning=True)
                self.show()
                await asyncio.sleep(pause)
                continue
            if not (why_not := await self._pulled(image)):
                return
            await asyncio.sleep(pause)
            again = f'Back-off pulling image "{image}"'
            self.container.waits("ImagePullBackOff", f"{again}: ErrImagePull: {why_not}")
            self.tell("BackOff", again)
            self.tell("Failed", "Error: ImagePullBackOff", warning=True)
            self.show()
            await asyncio.sleep(pause)
            pause = min(LONGEST_BACK_OFF_S, pause * 2)

    def _cannot(self, image: str) -> tuple[str, str] | None:
        """Why it is not even asked for."""
        if not images.valid(image):
            why = f'couldn\'t parse image name "{image}": invalid reference format'
            return "InvalidImageName", f'Failed to apply default image tag "{image}": {why}'
        if self.container.spec["imagePullPolicy"] == "Never" and image not in self.node.images:
            why = f'Container image "{image}" is not present with pull policy of Never'
            return "ErrImageNeverPull", why
        return None

    async def _pulled(self, image: str) -> str:
        """Why it could not be had; empty where it is there."""
        if image in self.node.images and self.container.spec["imagePullPolicy"] != "Always":
            self.tell("Pulled", f'Container image "{image}" {_THERE}')
            return ""
        self.tell("Pulling", f'Pulling image "{image}"')
        began = time.monotonic()
        await self.node.pull(image)
        if (error := images.pulled(image)) is not None:
            why = images.said(error)
            self.container.waits("ErrImagePull", why)
            self.tell("Failed", f'Failed to pull image "{image}": {why}', warning=True)
            self.tell("Failed", "Error: ErrImagePull", warning=True)
            self.show()
            return why
        self.node.images.add(image)
        took = f"{(time.monotonic() - began) * 1000:.0f}ms"
        size = "Image size: 0 bytes."
        self.tell(
            "Pulled", f'Successfully pulled image "{image}" in {took} ({took} including waiting). {size}'
        )
        return ""
