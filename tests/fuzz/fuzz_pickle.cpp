// The pickle alone, which the archive's directory otherwise hides from mutations.
#include "ropescope/weights/pickle.h"

#include "tests/fuzz/fuzz_target.h"

RS_FUZZ_TARGET(pickle, bytes) {
  using namespace ropescope;
  constexpr uint64_t kMaxValues = 10'000;
  const Pickle pickle = read_pickle(bytes, kMaxValues, "fuzz.pkl");
  if (pickle.root == nullptr || pickle.consumed > bytes.size() || pickle.arena.size() > kMaxValues) {
    throw InternalError("the pickle's bounds do not hold");
  }
}
