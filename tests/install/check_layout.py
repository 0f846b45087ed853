#!/usr/bin/env python3
"""check_layout.py DIRECTORY [ROOT]: checks an OCI image layout: structure, media types, and the size and digest of
each blob. Unpacks the layer to ROOT, if given. Prints the entry point. Exit status: 0 if the layout is valid.
"""
import gzip
import hashlib
import json
import pathlib
import subprocess
import sys

PREFIX = "application/vnd.oci.image."


class invalid(Exception):
    pass


def require(condition, message):
    if not condition:
        raise invalid(message)


def read_json(path):
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise invalid(f"cannot read {path}: {error}") from error


def digest_of(chunks):
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
    return "sha256:" + digest.hexdigest(), size


def chunks_of(file):
    return iter(lambda: file.read(1 << 20), b"")


def blob(directory, descriptor, media_type):
    """The path of the blob of a descriptor, whose type, size and digest are right."""
    require(descriptor.get("mediaType") == PREFIX + media_type, f"expected a {media_type}, not {descriptor}")
    algorithm, _, encoded = descriptor["digest"].partition(":")
    path = directory / "blobs" / algorithm / encoded
    require(path.is_file(), f"{path} is missing")
    with open(path, "rb") as file:
        found = digest_of(chunks_of(file))
    require(found == (descriptor["digest"], descriptor["size"]), f"{path} has digest and size {found}")
    return path


def check(directory, root):
    require(read_json(directory / "oci-layout") == {"imageLayoutVersion": "1.0.0"}, "oci-layout has another version")
    index = read_json(directory / "index.json")
    require(index["schemaVersion"] == 2 and index["mediaType"] == PREFIX + "index.v1+json", "index.json is no index")
    require(len(index["manifests"]) == 1, "index.json does not list one image")
    used = {blob(directory, index["manifests"][0], "manifest.v1+json")}
    manifest = read_json(next(iter(used)))
    config_path = blob(directory, manifest["config"], "config.v1+json")
    config = read_json(config_path)
    require(config["os"] == "linux" and config["architecture"] in ("amd64", "arm64"), "wrong platform")
    require(index["manifests"][0]["platform"] == {key: config[key] for key in ("architecture", "os")},
            "the index names another platform than the configuration")
    diff_ids = config["rootfs"]["diff_ids"]
    require(config["rootfs"]["type"] == "layers" and len(diff_ids) == len(manifest["layers"]) == 1,
            "the configuration does not describe one layer")
    layer = blob(directory, manifest["layers"][0], "layer.v1.tar+gzip")
    with gzip.open(layer) as file:
        require(digest_of(chunks_of(file))[0] == diff_ids[0], "the layer differs from its diff_id")
    used |= {config_path, layer}
    require(set((directory / "blobs" / "sha256").iterdir()) == used, "there are unused blobs")
    if root is not None:
        root.mkdir(parents=True)
        subprocess.run(["tar", "-xzpf", layer, "--numeric-owner", "-C", root], check=True)
    print(*config["config"]["Entrypoint"])


try:
    check(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None)
except (invalid, KeyError) as error:
    sys.exit(f"check_layout.py: {sys.argv[1]}: {error!r}")
