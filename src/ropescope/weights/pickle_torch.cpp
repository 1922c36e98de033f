// What a PyTorch pickle may refer to.
#include <array>

#include "ropescope/core/errors.h"
#include "ropescope/weights/pickle.h"

namespace ropescope {

namespace {

using Kind = PickleGlobal::Kind;

struct NamedGlobal {
  std::string_view module;
  std::string_view name;
  Kind kind;
};
constexpr std::array<NamedGlobal, 10> kGlobals = {{
    {"collections", "OrderedDict", Kind::kOrderedDict},
    {"torch", "Size", Kind::kSize},
    {"torch", "Tensor", Kind::kTensorClass},
    {"torch._tensor", "_rebuild_from_type_v2", Kind::kFromType},
    {"torch._utils", "_rebuild_tensor", Kind::kTensor},
    {"torch._utils", "_rebuild_tensor_v2", Kind::kTensorV2},
    {"torch._utils", "_rebuild_tensor_v3", Kind::kTensorV3},
    {"torch._utils", "_rebuild_parameter", Kind::kParameter},
    {"torch._utils", "_rebuild_parameter_with_state", Kind::kParameter},
    {"torch.storage", "UntypedStorage", Kind::kStorage},
}};

// PyTorch's name of a type: of its storage class ("HalfStorage"), of torch.dtype ("float16").
struct NamedType {
  std::string_view storage;
  std::string_view dtype;
  const char* stored;
};
constexpr std::array<NamedType, 20> kTorchTypes = {{
    {"FloatStorage", "float32", "F32"},
    {"HalfStorage", "float16", "F16"},
    {"BFloat16Storage", "bfloat16", "BF16"},
    {"DoubleStorage", "float64", "F64"},
    {"LongStorage", "int64", "I64"},
    {"IntStorage", "int32", "I32"},
    {"ShortStorage", "int16", "I16"},
    {"CharStorage", "int8", "I8"},
    {"ByteStorage", "uint8", "U8"},
    {"BoolStorage", "bool", "BOOL"},
    {"ComplexFloatStorage", "complex64", "C64"},
    {"ComplexDoubleStorage", "complex128", "C128"},
    {"", "uint16", "U16"},
    {"", "uint32", "U32"},
    {"", "uint64", "U64"},
    {"", "float8_e4m3fn", "F8_E4M3"},
    {"", "float8_e5m2", "F8_E5M2"},
    {"", "float8_e4m3fnuz", "F8_E4M3FNUZ"},
    {"", "float8_e5m2fnuz", "F8_E5M2FNUZ"},
    {"", "float8_e8m0fnu", "F8_E8M0"},
}};

/// Argument `index` as T, or an error that names the call.
template <typename T>
const T& argument(const PickleTuple& arguments, size_t index, const char* call, const std::string& what) {
  const T* value = index < arguments.items.size() ? arguments.items[index]->as<T>() : nullptr;
  if (value == nullptr) {
    throw InputError("{}: damaged pickle: argument {} of {} is missing or of the wrong kind", what, index,
                     call);
  }
  return *value;
}

// What a call copies must be short: a pickle can repeat a call on the same long value at little cost.
constexpr size_t kMaxKeyBytes = 64;

const PickleTuple& check_short(const PickleTuple& tuple, const std::string& what) {
  if (tuple.items.size() > kMaxDimensions) {
    throw InputError("{}: expected at most {} dimensions, found {}", what, kMaxDimensions,
                     tuple.items.size());
  }
  return tuple;
}

std::vector<int64_t> integers(const PickleTuple& tuple, const std::string& what) {
  std::vector<int64_t> values;
  check_short(tuple, what);
  for (const PickleValue* item : tuple.items) {
    const auto* value = item->as<int64_t>();
    if (value == nullptr) throw InputError("{}: damaged pickle: a size or stride that is no integer", what);
    values.push_back(*value);
  }
  return values;
}

PickleTensor describe_tensor(Kind kind, const PickleTuple& arguments, const std::string& what) {
  constexpr const char* kCall = "_rebuild_tensor";
  PickleTensor tensor;
  tensor.storage = &argument<PickleStorage>(arguments, 0, kCall, what);
  tensor.type = tensor.storage->type;
  tensor.offset = argument<int64_t>(arguments, 1, kCall, what);
  tensor.sizes = integers(argument<PickleTuple>(arguments, 2, kCall, what), what);
  tensor.strides = integers(argument<PickleTuple>(arguments, 3, kCall, what), what);
  if (kind == Kind::kTensorV3) {
    const auto& dtype = argument<PickleGlobal>(arguments, 6, kCall, what);
    if (dtype.kind == Kind::kDtype) tensor.type = dtype.type;
  }
  if (tensor.type == nullptr) throw InputError("{}: a tensor without an element type", what);
  return tensor;
}

bool rebuilds_tensor(Kind kind) {
  return kind == Kind::kTensor || kind == Kind::kTensorV2 || kind == Kind::kTensorV3;
}

/// A tensor with attributes of its own, as torch.nn.Buffer makes them: (function, torch.Tensor, arguments,
/// {attributes}). The attributes are no part of the numbers.
PickleTensor describe_from_type(const PickleTuple& arguments, const std::string& what) {
  constexpr const char* kCall = "_rebuild_from_type_v2";
  const auto& function = argument<PickleGlobal>(arguments, 0, kCall, what);
  const auto& type = argument<PickleGlobal>(arguments, 1, kCall, what);
  const auto& inner = argument<PickleTuple>(arguments, 2, kCall, what);
  argument<PickleDict>(arguments, 3, kCall, what);
  if (arguments.items.size() != 4 || !rebuilds_tensor(function.kind) || type.kind != Kind::kTensorClass) {
    throw InputError(
        "{}: _rebuild_from_type_v2: expected a plain torch.Tensor with attributes, found another class",
        what);
  }
  return describe_tensor(function.kind, inner, what);
}

}  // namespace

std::optional<PickleGlobal> admitted_global(std::string_view module, std::string_view name) {
  for (const NamedGlobal& global : kGlobals) {
    if (global.module == module && global.name == name) return PickleGlobal{global.kind};
  }
  if (name.empty() || (module != "torch" && module != "torch.cuda")) return std::nullopt;
  for (const NamedType& type : kTorchTypes) {
    if (name == type.storage) return PickleGlobal{Kind::kStorage, find_stored_type(type.stored)};
    if (name == type.dtype && module == "torch")
      return PickleGlobal{Kind::kDtype, find_stored_type(type.stored)};
  }
  return std::nullopt;
}

PickleValue describe_call(const PickleGlobal& function, const PickleTuple& arguments,
                          const std::string& what) {
  switch (function.kind) {
    case Kind::kOrderedDict:
      // (Python 2 gave the items as an argument. Copying them here would let a small pickle make large ones.)
      if (!arguments.items.empty())
        throw InputError("{}: an OrderedDict with arguments is not supported", what);
      return {PickleDict{}};
    case Kind::kSize:
      return {check_short(argument<PickleTuple>(arguments, 0, "torch.Size", what), what)};
    case Kind::kTensor:
    case Kind::kTensorV2:
    case Kind::kTensorV3:
      return {describe_tensor(function.kind, arguments, what)};
    case Kind::kFromType:
      return {describe_from_type(arguments, what)};
    case Kind::kParameter:
      return {argument<PickleTensor>(arguments, 0, "_rebuild_parameter", what)};
    case Kind::kStorage:
    case Kind::kDtype:
    case Kind::kTensorClass:
      break;
  }
  throw InputError("{}: damaged pickle: a call of a type", what);
}

PickleStorage describe_storage(const PickleValue& id, const std::string& what) {
  constexpr const char* kCall = "a storage's id";
  const auto* parts = id.as<PickleTuple>();
  if (parts == nullptr || argument<std::string>(*parts, 0, kCall, what) != "storage") {
    throw InputError("{}: damaged pickle: a persistent id that names no storage", what);
  }
  const auto& type = argument<PickleGlobal>(*parts, 1, kCall, what);
  if (type.kind != Kind::kStorage) throw InputError("{}: damaged pickle: a storage of no storage type", what);
  if (parts->items.size() > 5 && parts->items[5]->as<PickleNone>() == nullptr) {
    throw InputError(
        "{}: views of storages (PyTorch before 0.4) are not supported. Try: load and save the file with "
        "a current PyTorch.",
        what);
  }
  const auto& key = argument<std::string>(*parts, 2, kCall, what);
  if (key.size() > kMaxKeyBytes) {
    throw InputError("{}: damaged pickle: a storage's key of {} bytes", what, key.size());
  }
  PickleStorage storage{type.type, key, argument<int64_t>(*parts, 4, kCall, what)};
  if (storage.count < 0)
    throw InputError("{}: damaged pickle: a storage of {} elements", what, storage.count);
  return storage;
}

}  // namespace ropescope
