"""Adapted models kept on this disk, and shared on the Hugging Face Hub."""

from __future__ import annotations

from tlhub.hookspecs import hookimpl


@hookimpl
def tlhub_backbones() -> list[type]:
    from tlhub_registry.artifact_backbone import ArtifactBackbone

    return [ArtifactBackbone]


@hookimpl
def tlhub_stores() -> list[type]:
    from tlhub_registry.kept import RegistryStore

    return [RegistryStore]
