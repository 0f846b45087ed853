#!/usr/bin/env python3
"""oci_layout.py ROOT.tar DIRECTORY --architecture A --version V --revision R --created SECONDS

Writes an OCI image layout (OCI image specification 1.0) with one layer, the root file system ROOT.tar, to
DIRECTORY, which must not exist. The same arguments give the same bytes. Runs no container software; to
transfer the image to a registry or a daemon, use skopeo, podman or `docker load`.
"""
import argparse
import datetime
import gzip
import hashlib
import json
import pathlib
import shutil
import tempfile

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
BLOCK = 1 << 20


class hashing_writer:
    """Passes what is written on to `file`, and computes its digest and size."""

    def __init__(self, file):
        self.file, self.hash, self.size = file, hashlib.sha256(), 0

    def write(self, data):
        self.hash.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self):
        self.file.flush()

    @property
    def digest(self):
        return "sha256:" + self.hash.hexdigest()


def blob_path(directory, digest):
    return directory / "blobs" / digest.replace(":", "/")


def write_json_blob(directory, media_type, content):
    data = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    blob_path(directory, digest).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def write_layer(directory, root):
    """Compresses `root`. Returns the layer's descriptor and the digest of its uncompressed data."""
    uncompressed = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=directory / "blobs", delete=False) as file:
        writer = hashing_writer(file)
        # Without the time and the name of the file, which would differ between builds.
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=writer, mtime=0) as layer:
            with open(root, "rb") as source:
                while data := source.read(BLOCK):
                    uncompressed.update(data)
                    layer.write(data)
    path = pathlib.Path(file.name)
    path.chmod(0o644)
    path.rename(blob_path(directory, writer.digest))
    descriptor = {"mediaType": LAYER, "digest": writer.digest, "size": writer.size}
    return descriptor, "sha256:" + uncompressed.hexdigest()


def image_config(arguments, created, diff_id):
    return {
        "created": created,
        "architecture": arguments.architecture,
        "os": "linux",
        "config": {
            "Entrypoint": ["/usr/bin/xenpv-sim"],
            "Cmd": ["--help"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": "xenpv-sim",
                "org.opencontainers.image.description": "Simulator of a Xen host, for tests",
                "org.opencontainers.image.licenses": "MIT",
                "org.opencontainers.image.version": arguments.version,
                "org.opencontainers.image.revision": arguments.revision,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
        "history": [{"created": created, "created_by": "packaging/image.sh"}],
    }


def write_layout(arguments):
    directory = arguments.directory
    (directory / "blobs" / "sha256").mkdir(parents=True)
    created = datetime.datetime.fromtimestamp(arguments.created, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    layer, diff_id = write_layer(directory, arguments.root)
    config = write_json_blob(directory, CONFIG, image_config(arguments, created, diff_id))
    manifest = write_json_blob(directory, MANIFEST, {
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})
    manifest["platform"] = {"architecture": arguments.architecture, "os": "linux"}
    manifest["annotations"] = {"org.opencontainers.image.ref.name": arguments.version}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]}
    (directory / "index.json").write_text(json.dumps(index, sort_keys=True, separators=(",", ":")))
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')


def main():
    parser = argparse.ArgumentParser(description="writes an OCI image layout")
    parser.add_argument("root", type=pathlib.Path)
    parser.add_argument("directory", type=pathlib.Path)
    for name in "architecture", "version", "revision":
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--created", type=int, required=True, help="seconds since 1970")
    arguments = parser.parse_args()
    arguments.directory.mkdir(parents=True)
    try:
        write_layout(arguments)
    except BaseException:
        shutil.rmtree(arguments.directory)
        raise


main()
