#include "ropescope/weights/pytorch_file.h"

#include "tests/fuzz/checkpoint_walk.h"
#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(pytorch, bytes) {
  using namespace ropescope;
  const FileBytes file{"fuzz.bin", bytes, nullptr};
  testing::take_all(*make_checkpoint("pytorch", {file.path}, parse_pytorch(file)), bytes.size());
}
