#include "ropescope/weights/npy.h"

#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(npy, bytes) {
  using namespace ropescope;
  const NpyArray array = parse_npy({"fuzz.npy", bytes, nullptr});
  if (!array.values.is_contiguous()) throw InternalError("the array is not contiguous");
  // Booleans and small numbers grow eightfold, no more.
  if (array.values.nbytes() > 8 * bytes.size()) throw InternalError("the array is larger than its file");
}
