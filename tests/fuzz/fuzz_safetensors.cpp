#include "ropescope/weights/safetensors.h"

#include "tests/fuzz/checkpoint_walk.h"
#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(safetensors, bytes) {
  using namespace ropescope;
  const FileBytes file{"fuzz.safetensors", bytes, nullptr};
  testing::take_all(*make_checkpoint("safetensors", {file.path}, parse_safetensors(file)), bytes.size());
}
