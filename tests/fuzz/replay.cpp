// Replaces libFuzzer for compilers that lack it: runs the target on every file in the directories
// given as arguments, and on some fixed edge cases.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void feed(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t inputs = 0;
  for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 4096U, 70000U}) {
    for (const char filling : {'\0', '\x01', '0', '9', '/', '\x7F', '\xFF'}) {
      feed(std::string(size, filling));
      ++inputs;
    }
  }
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      std::ifstream file(entry.path(), std::ios::binary);
      feed(std::string(std::istreambuf_iterator<char>(file), {}));
      ++inputs;
    }
  }
  std::printf("%zu inputs replayed\n", inputs);
  return 0;
}
