// main() of every program. apps/CMakeLists.txt sets XENPV_RUN to the program's function.
#include "programs.hpp"

int main(int argc, char** argv) {
  return xenpv::apps::XENPV_RUN(argc, argv);
}
