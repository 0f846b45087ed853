// The executable xenpv-custodian.
#include "xen/custodian_main.hpp"

int main(int argc, char** argv) {
  return xenpv::xen::custodian_main(argc, argv);
}
