"""Checks metrics in the Prometheus text format, version 0.0.4, and their users.

metrics_check.py format FILE...        the files, scraped one after the other from the same servers, are valid, and
                                       counters do not decrease; prints the names of all metrics
metrics_check.py used OUTPUT FILE...   prints the metrics of xenpv-disk that each FILE uses and OUTPUT lacks
metrics_check.py rules DASHBOARD       prints the expressions of a Grafana dashboard as recording rules
metrics_check.py value OUTPUT NAME LABEL=VALUE...  prints the value of one sample
"""
import json
import re
import sys

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)\{(.*)\} (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
ESCAPES = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}
SUFFIXES = ("_bucket", "_sum", "_count")
# From node_exporter, Prometheus itself and Grafana.
FOREIGN = {"node_textfile_mtime_seconds"}


def labels_of(text, line):
    labels, position = {}, 0
    while position < len(text):
        match = LABEL.match(text, position)
        assert match, f"invalid labels: {line}"
        name, value, end = match.groups()
        assert name not in labels, f"label {name} twice: {line}"
        labels[name] = re.sub(r"\\.", lambda escape: ESCAPES[escape.group(0)], value)
        position = match.end()
        assert not (end and position == len(text)), f"comma without a label: {line}"
    return labels


def read(path):
    """Returns the types of the metrics, and {(sample name, sorted labels): value} in the order of the file."""
    types, helped, samples, finished, current = {}, set(), {}, set(), None
    text = open(path, encoding="utf-8", newline="").read()
    assert text == "" or text.endswith("\n"), "the last line has no newline"
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split()[2]
            assert len(line.split()) > 3 and name not in helped, line
            helped.add(name)
            continue
        if line.startswith("# TYPE "):
            name, kind = line.split()[2:]
            assert name in helped and name not in types, line
            assert kind in ("counter", "gauge", "histogram"), line
            assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"
            types[name] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, f"invalid line: {line}"
        sample, labels, value = match.group(1), labels_of(match.group(2), line), float(match.group(3))
        base = next((sample.removesuffix(suffix) for suffix in SUFFIXES
                     if types.get(sample.removesuffix(suffix)) == "histogram"), sample)
        assert base in types, f"a sample without a type: {line}"
        assert ("le" in labels) == (base != sample and sample.endswith("_bucket")), line
        if base != current:
            assert base not in finished, f"the samples of {base} are not together"
            finished.add(current)
            current = base
        key = sample, tuple(sorted(labels.items()))
        assert key not in samples, f"a sample twice: {line}"
        samples[key] = value
    missing = set(types) - finished - {current}
    assert not missing, f"metrics without samples: {missing}"
    return types, samples


def check_histogram(name, samples):
    """Buckets are cumulative and match the count; the sum is possible for the buckets."""
    series = {}
    for (sample, labels), value in samples.items():
        if sample == name + "_bucket":
            rest = tuple(pair for pair in labels if pair[0] != "le")
            series.setdefault(rest, []).append((float(dict(labels)["le"]), value))
    assert series, f"{name} has no buckets"
    bounds = None
    for labels, buckets in series.items():
        assert buckets == sorted(buckets), f"{name}{labels}: not in order"
        assert bounds in (None, [bound for bound, _ in buckets]), f"{name}{labels}: other bounds"
        bounds = [bound for bound, _ in buckets]
        assert bounds[-1] == float("inf"), f"{name}{labels}: no bucket +Inf"
        count, total = samples[name + "_count", labels], samples[name + "_sum", labels]
        assert buckets[-1][1] == count, f"{name}{labels}: +Inf is {buckets[-1][1]}, the count {count}"
        assert samples[name.replace("latency_seconds", "requests_total"), labels] == count, f"{name}{labels}: {count}"
        least = most = lower = before = 0
        for bound, value in buckets:
            assert value >= before, f"{name}{labels}: le={bound} is less than the bucket before"
            least += (value - before) * lower
            most += (value - before) * bound if value > before else 0
            lower, before = bound, value
        assert least <= total <= most or count == total == 0, f"{name}{labels}: sum {total}, not {least} to {most}"
    return bounds


def check_format(paths):
    before = {}
    for path in paths:
        types, samples = read(path)
        for name, kind in types.items():
            if kind == "histogram":
                bounds = check_histogram(name, samples)
                assert len(bounds) == 22 and 5e-6 < bounds[0] < 2e-5 and 5 < bounds[-2] < 20, bounds
        for key, value in samples.items():
            name = key[0]
            grows = types.get(name) == "counter" or name.endswith(SUFFIXES)
            assert not grows or value >= before.get(key, 0), f"{path}: {key} decreased"
        before = samples
    print(*sorted(types), sep="\n")


def names_in(path):
    text = open(path, encoding="utf-8").read()
    return set(re.findall(r"\b(?:xenpv_disk|node)_[a-z_]+\b", text)) - FOREIGN


def check_used(output, paths):
    _, samples = read(output)
    known = {name for name, _ in samples}
    for path in paths:
        used = names_in(path)
        assert len(used) > 10, f"{path} uses only {used}"
        print(*sorted(used - known), sep="\n", end="")


def expressions(dashboard):
    document = json.load(open(dashboard, encoding="utf-8"))
    assert document["schemaVersion"] >= 36, "older than Grafana 9"
    variables = {variable["name"] for variable in document["templating"]["list"]}
    assert variables == {"datasource", "instance", "disk", "server", "operation"}, variables
    ids, types = [], set()
    for panel in document["panels"]:
        ids.append(panel["id"])
        types.add(panel["type"])
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24, panel["title"]
        for target in panel.get("targets", []):
            assert panel["datasource"]["uid"] == target["datasource"]["uid"] == "${datasource}", panel["title"]
            for variable in re.findall(r"\$(\w+)", target["expr"]):
                assert variable in variables | {"__rate_interval"}, target["expr"]
            yield re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "5m"))
    assert len(ids) == len(set(ids)), "panels share an id"
    assert {"timeseries", "stat", "heatmap"} <= types, types


def print_rules(dashboard):
    rules = [{"record": f"dashboard:{number}", "expr": expression}
             for number, expression in enumerate(expressions(dashboard))]
    print(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML


def print_value(output, name, pairs):
    labels = tuple(sorted(tuple(pair.split("=", 1)) for pair in pairs))
    print(f"{read(output)[1][name, labels]:.15g}")


def main():
    action, *arguments = sys.argv[1:]
    if action == "format":
        check_format(arguments)
    elif action == "used":
        check_used(arguments[0], arguments[1:])
    elif action == "rules":
        print_rules(*arguments)
    elif action == "value":
        print_value(arguments[0], arguments[1], arguments[2:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
