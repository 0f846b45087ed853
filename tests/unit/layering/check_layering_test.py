#!/usr/bin/env python3
"""Plants each kind of violation, and expects check_layering.py to report only that violation."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from check_layering import check_file, check_unity


def violations(path, *lines):
    return list(check_file(path, "\n".join(lines) + "\n"))


class includes(unittest.TestCase):
    def test_allowed_includes_are_accepted(self):
        for path, header in (
            ("lib/wire/xs.cpp", '"wire/xs.hpp"'),
            ("lib/wire/xs.cpp", '"xenpv/base/error.hpp"'),
            ("lib/xen/store.cpp", "<xenstore.h>"),
            ("lib/sim/guest/evtchn.cpp", "<xenevtchn.h>"),
            ("lib/sim/host.cpp", '"sim/store_service.hpp"'),
            ("include/xenpv/async/event_loop.hpp", "<boost/asio/awaitable.hpp>"),
            ("include/xenpv/async/event_loop.hpp", '"xenpv/xen/event_channel.hpp"'),
            ("lib/nbd/session.cpp", '"xenpv/blk/device.hpp"'),
            ("lib/nbd/session.cpp", '"nbd/codec.hpp"'),
            ("lib/nbd/negotiation.cpp", '"nbd/codec.hpp"'),
            ("lib/nbd/negotiation.hpp", '"xenpv/nbd/tls_mode.hpp"'),
            ("lib/nbd/tls_engine.hpp", "<openssl/ssl.h>"),
            ("lib/cli/parser.cpp", "<CLI/CLI.hpp>"),
            ("lib/base/error.cpp", "<boost/system/result.hpp>"),
            ("apps/xenpv-disk/main.cpp", '"xenpv/blkfront/frontend.hpp"'),
            ("apps/xenpv-sim/main.cpp", '"sim/host.hpp"'),
            ("tests/unit/wire/xs_test.cpp", "<xen/io/xs_wire.h>"),
        ):
            self.assertEqual(violations(path, f"#include {header}"), [], f"{path}: {header}")

    def test_an_upward_include_is_named(self):
        for path, header, message in (
            ("lib/base/parse.cpp", '"xenpv/wire/blkif.hpp"',
             "room 'base' may not include xenpv/wire/blkif.hpp"),
            ("include/xenpv/wire/blkif.hpp", '"xenpv/xen/store.hpp"',
             "room 'wire' may not include xenpv/xen/store.hpp"),
            ("lib/xen/store.cpp", "<boost/asio.hpp>",
             "room 'xen' may not include boost/asio.hpp"),
            ("lib/sim/host.cpp", '"xenpv/xen/store.hpp"',
             "room 'sim' may not include xenpv/xen/store.hpp"),
            ("lib/sim/host.cpp", "<boost/asio/io_context.hpp>",
             "room 'sim' may not include boost/asio/io_context.hpp"),
            ("lib/async/store_client.cpp", "<xenstore.h>",
             "room 'async' may not include xenstore.h"),
            ("lib/nbd/session.cpp", '"xenpv/xen/grant_share.hpp"',
             "room 'nbd' may not include xenpv/xen/grant_share.hpp"),
            ("lib/nbd/session.cpp", '"xenpv/blkfront/queue.hpp"',
             "room 'nbd' may not include xenpv/blkfront/queue.hpp"),
            ("lib/nbd/psk_file.cpp", "<openssl/ssl.h>",
             "a pure machine may not include openssl/ssl.h"),
            ("include/xenpv/nbd/tls_credentials.hpp", "<openssl/ssl.h>",
             "a public header may not include openssl/ssl.h"),
            ("lib/cli/app.cpp", "<openssl/ssl.h>",
             "room 'cli' may not include openssl/ssl.h"),
            ("apps/xenpv-disk/serve.cpp", "<openssl/ssl.h>",
             "an app may not include openssl/ssl.h; use the interfaces of the rooms"),
            ("lib/cli/app.cpp", '"xenpv/xen/guest.hpp"',
             "room 'cli' may not include xenpv/xen/guest.hpp"),
            ("lib/doctor/report.cpp", "  #  include <xen/xen.h>",
             "room 'doctor' may not include xen/xen.h"),
            ("lib/channels/rates.cpp", '"doctor/check.hpp"',
             "a pure machine may not include doctor/check.hpp"),
        ):
            line = header if header.lstrip().startswith("#") else f"#include {header}"
            self.assertEqual(violations(path, line), [message])

    def test_a_private_header_stays_in_its_room(self):
        self.assertEqual(violations("lib/async/event_loop.cpp", '#include "xen/cure.hpp"'),
                         ["xen/cure.hpp is private to room 'xen'"])

    def test_a_pure_machine_is_kept_pure(self):
        self.assertEqual(
            violations("lib/nbd/codec.cpp", "#include <boost/asio/buffer.hpp>"),
            ["a pure machine may not include boost/asio/buffer.hpp"])
        self.assertEqual(
            violations("include/xenpv/ring/front_ring.hpp", '#include "xenpv/xen/grant_share.hpp"'),
            ["a pure machine may not include xenpv/xen/grant_share.hpp"])
        self.assertEqual(
            violations("lib/blkfront/planner.cpp", '#include "blkfront/queue.hpp"'),
            ["a pure machine includes blkfront/queue.hpp, which is not pure"])

    def test_a_public_header_includes_only_what_is_installed(self):
        self.assertEqual(
            violations("include/xenpv/async/event_loop.hpp", '#include "base/parse.hpp"'),
            ["a public header may not include base/parse.hpp, which is not installed"])

    def test_an_app_goes_through_the_rooms(self):
        self.assertEqual(violations("apps/xenpv-disk/main.cpp", '#include "blkfront/engine.hpp"'), [])
        self.assertEqual(
            violations("apps/xenpv-sim/main.cpp", "#include <xenstore.h>"),
            ["an app may not include xenstore.h; use the interfaces of the rooms"])
        self.assertEqual(
            violations("apps/xenpv-evtchn/main.cpp", "#include <boost/asio/post.hpp>"),
            ["an app may not include boost/asio/post.hpp; use the interfaces of the rooms"])

    def test_an_example_builds_on_the_installed_package(self):
        for header in ("<boost/asio/post.hpp>", "<xenpv/nbd/server.hpp>"):
            self.assertEqual(violations("apps/examples/serve.cpp", f"#include {header}"), [])
        self.assertEqual(violations("apps/examples/serve.cpp", '#include "nbd/codec.hpp"'),
                         ["an example may not include nbd/codec.hpp, which is not installed"])

    def test_an_unknown_room_is_named(self):
        self.assertEqual(violations("lib/utils/x.cpp", "int x;"),
                         ["room 'utils' is not in the table of rooms"])


class words(unittest.TestCase):
    def test_detached_is_found_in_code_only(self):
        message = ["'detached' loses errors; spawn the coroutine into a nursery"]
        self.assertEqual(violations("lib/nbd/a.cpp", "co_spawn(ex, f(), detached);"), message)
        self.assertEqual(violations("lib/nbd/a.cpp", "co_spawn(e, f(), asio::detached);"), message)
        self.assertEqual(violations("lib/nbd/a.cpp", "// detached", 'x("detached");',
                                    "/* a\n detached */", 'y(R"(detached)");'), [])

    def test_foreign_phrases_are_found_in_comments_and_messages(self):
        for line, phrase in (("// Whoever asks first.", "Whoever"), ('x("lets go of it");', "lets go of")):
            self.assertEqual(violations("lib/nbd/a.cpp", "int a;", line),
                             [f"line 2: '{phrase}' is not plain technical English"])
        self.assertEqual(violations("lib/nbd/a.cpp", "int patience = 1;"), [])

    def test_stopping_a_context_is_found(self):
        message = ["io_context::stop() abandons coroutines half-way; cancel, join and run dry"]
        for line in ("ctx.stop();", "io_context_.stop();", "cpu->context().stop();"):
            self.assertEqual(violations("lib/async/a.cpp", line), message, line)
        self.assertEqual(violations("lib/async/a.cpp", "service.stop(); stop();"), [])

    def test_locks_are_found_outside_the_places_where_threads_meet(self):
        self.assertEqual(violations("lib/nbd/a.cpp", "std::mutex m;"),
                         ["std::mutex in a file that may not share state between threads"])
        self.assertEqual(violations("lib/xen/store.cpp", "std::atomic<int> n;"),
                         ["std::atomic in a file that may not share state between threads"])
        self.assertEqual(violations("apps/xenpv-ipi/a.cpp", "std::atomic_ref r(x);"),
                         ["std::atomic_ref in a file that may not share state between threads"])
        for path in ("lib/async/a.cpp", "lib/sim/a.cpp", "include/xenpv/ring/a.hpp",
                     "lib/xen/custodian.cpp"):
            self.assertEqual(violations(path, "std::mutex m; std::atomic<int> n;"), [], path)


class unity(unittest.TestCase):
    def clash(self, first, second, folder="lib/nbd"):
        text = "namespace xenpv {{\nnamespace {{\n{}\n}}  // namespace\n}}  // namespace xenpv\n"
        return list(check_unity({"lib/nbd/a.cpp": text.format(first), f"{folder}/b.cpp": text.format(second)}))

    def test_names_defined_twice_are_found(self):
        for first, second in (
            ("constexpr int x = 1;", "constexpr const char* x = \"\";"),
            ("constexpr auto x = f({\n    1});", "int x() {\n}"),
            ("struct x {\n};", "enum class x : int { a };"),
            ("void x(int a,\n       int b) {\n}", "int x(int a, int b) noexcept {\n}"),
            ("void y() {\n}\nint x[3];", "template <class T>\nvoid x(T a) {\n}"),
        ):
            self.assertEqual(self.clash(first, second), [
                "lib/nbd/b.cpp: a unity build would define 'x' twice: it is also in lib/nbd/a.cpp"])

    def test_other_names_are_accepted(self):
        for first, second in (
            ("void x(int a) {\n}", "void x(char a) {\n}"),
            ("using wire::x;", "using wire::x;"),
            ("int y() {\n  int x = 1;\n}", "int z() {\n  int x = 1;\n}"),
            ("struct y {\n  void x();\n};", "int x() {\n}"),
            ("void y::x() {\n}", "void z::x() {\n}"),
            ("TEST(x, y) {\n}", "TEST(x, y) {\n}"),
        ):
            self.assertEqual(self.clash(first, second), [])
        for folder in ("lib/sim", "tests/unit/nbd", "apps/examples"):
            self.assertEqual(self.clash("int x;", "int x;", folder), [])


class sizes(unittest.TestCase):
    def test_long_files_are_found(self):
        self.assertEqual(violations("tests/unit/a_test.cpp", *["int x;"] * 500), [])
        self.assertEqual(violations("tests/unit/a_test.cpp", *["int x;"] * 501),
                         ["501 lines, more than 500: split it by concern"])
        self.assertEqual(violations("lib/base/a.hpp", *["int x;"] * 301),
                         ["301 lines, more than 300: split it by concern"])


class program(unittest.TestCase):
    """Runs the script as ctest does: a planted include must cause a failing exit status."""

    def run_on(self, text):
        with tempfile.TemporaryDirectory() as top:
            source = Path(top, "lib/wire/xs.cpp")
            source.parent.mkdir(parents=True)
            source.write_text(text, encoding="utf-8")
            script = Path(__file__).with_name("check_layering.py")
            return subprocess.run([sys.executable, script, top], capture_output=True, text=True)

    def test_a_clean_tree_passes(self):
        done = self.run_on('#include "wire/xs.hpp"\n')
        self.assertEqual((done.returncode, done.stdout), (0, "1 files, 0 violations\n"))

    def test_a_planted_include_fails(self):
        done = self.run_on("#include <xenstore.h>\n")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout,
                         "lib/wire/xs.cpp: room 'wire' may not include xenstore.h\n"
                         "1 files, 1 violations\n")

    def test_an_empty_tree_fails(self):
        with tempfile.TemporaryDirectory() as top:
            script = Path(__file__).with_name("check_layering.py")
            done = subprocess.run([sys.executable, script, top], capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("no sources found", done.stderr)


if __name__ == "__main__":
    unittest.main()
