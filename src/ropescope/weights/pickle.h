// The part of Python's pickle format (protocols 2 to 5) that state dicts are written in, read without Python.
// Nothing is ever called: the few functions that rebuild tensors are known by name and become descriptions
// (PickleTensor); every other module.name is refused before anything is done with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "ropescope/weights/stored_tensor.h"

namespace ropescope {

struct PickleValue;

struct PickleNone {};
/// An integer beyond 64 bits, or bytes: read over, not kept.
struct PickleOpaque {};
struct PickleTuple {
  std::vector<PickleValue*> items;
};
struct PickleList {
  std::vector<PickleValue*> items;
};
/// dict or OrderedDict, in the order of insertion (a repeated key stays twice).
struct PickleDict {
  std::vector<std::pair<PickleValue*, PickleValue*>> items;
};
/// An admitted module.name.
struct PickleGlobal {
  enum class Kind {
    kOrderedDict,
    kSize,
    kStorage,
    kDtype,
    kTensor,
    kTensorV2,
    kTensorV3,
    kParameter,
    kTensorClass,
    kFromType
  };
  Kind kind;
  const StoredType* type = nullptr;  ///< of kStorage and kDtype; nullptr: bytes without a type
};
struct PickleStorage {
  const StoredType* type = nullptr;  ///< nullptr: bytes without a type
  std::string key;
  int64_t count = 0;  ///< elements
};
/// Arguments of torch._utils._rebuild_tensor_v2, as the file gives them: not yet checked.
struct PickleTensor {
  const PickleStorage* storage = nullptr;
  const StoredType* type = nullptr;
  int64_t offset = 0;  ///< elements
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;  ///< elements
};

struct PickleValue {
  std::variant<PickleNone, bool, int64_t, double, std::string, PickleOpaque, PickleTuple, PickleList,
               PickleDict, PickleGlobal, PickleStorage, PickleTensor>
      data;
  template <typename T>
  T* as() {
    return std::get_if<T>(&data);
  }
  template <typename T>
  const T* as() const {
    return std::get_if<T>(&data);
  }
};

/// A loaded pickle. The arena owns every value, so that values may refer to each other in circles.
struct Pickle {
  std::deque<PickleValue> arena;
  PickleValue* root = nullptr;
  uint64_t consumed = 0;  ///< bytes up to and with STOP
};

/// Reads one pickle from the start of `bytes`. `max_values` bounds the values made. Throws InputError naming
/// `what` for damage, for opcodes that plain data does not need, and for a module.name that is not admitted.
Pickle read_pickle(std::span<const std::byte> bytes, uint64_t max_values, const std::string& what);

// What the interpreter (pickle.cpp) needs to know about PyTorch (pickle_torch.cpp).

/// Nothing if `module`.`name` is not admitted.
std::optional<PickleGlobal> admitted_global(std::string_view module, std::string_view name);

/// What calling `function` with `arguments` gives: a description, or an argument itself. Throws InputError.
PickleValue describe_call(const PickleGlobal& function, const PickleTuple& arguments,
                          const std::string& what);

/// ('storage', type, key, location, count): the only persistent id that is admitted. Throws InputError.
PickleStorage describe_storage(const PickleValue& id, const std::string& what);

}  // namespace ropescope
