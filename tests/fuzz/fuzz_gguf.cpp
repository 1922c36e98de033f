#include "ropescope/architectures/gguf_config.h"
#include "ropescope/architectures/open_checkpoint.h"

#include "tests/fuzz/checkpoint_walk.h"
#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(gguf, bytes) {
  using namespace ropescope;
  const GgufContents contents = parse_gguf(bytes, "fuzz.gguf");
  for (const GgufTensor& tensor : contents.tensors) {
    if (tensor.bytes > bytes.size() || tensor.offset > bytes.size() - tensor.bytes) {
      throw InternalError("tensor \"{}\" leaves the file", tensor.name);
    }
  }
  try {
    check_decoder_config(gguf_decoder_config(contents, bytes, "fuzz.gguf"), "fuzz.gguf");
  } catch (const InputError&) {  // a file may hold tensors of something else
  }
  testing::take_all(*open_gguf_checkpoint(bytes, "fuzz.gguf"), bytes.size());
}
