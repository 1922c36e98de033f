#include "tests/support/pretend_device.h"

#include <array>
#include <cstring>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace ropescope::testing {

namespace {

constexpr c10::DeviceType kPretend = c10::DeviceType::PrivateUse1;

// Device memory: its addresses are a reservation that nobody can touch, its bytes lie as far into another one.
class Memory {
 public:
  static Memory& instance() {
    static Memory memory;
    return memory;
  }

  void* take(size_t bytes) {
    const std::lock_guard lock(mutex_);
    const size_t size = (bytes + kGrain - 1) / kGrain * kGrain;
    std::vector<char*>& free = free_[size];
    char* start = end_;
    if (free.empty()) {
      TORCH_CHECK(static_cast<size_t>(end_ - begin_) + size <= kBytes,
                  "the pretend device has no memory left");
      end_ += size;
    } else {
      start = free.back();
      free.pop_back();
    }
    sizes_[start] = size;
    return start;
  }
  void give(void* start) {
    const std::lock_guard lock(mutex_);
    free_[sizes_.at(static_cast<char*>(start))].push_back(static_cast<char*>(start));
  }
  /// Where the bytes of a device address lie.
  char* bytes_of(const void* address) const { return bytes_ + (static_cast<const char*>(address) - begin_); }
  bool has(const void* address) const { return address >= begin_ && address < begin_ + kBytes; }

 private:
  static constexpr size_t kBytes = size_t{4} << 30, kGrain = 64;

  static char* reserve(int access) {
    void* start = mmap(nullptr, kBytes, access, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    TORCH_CHECK(start != MAP_FAILED, "no memory can be reserved for the pretend device");
    return static_cast<char*>(start);
  }

  std::mutex mutex_;
  char *begin_ = reserve(PROT_NONE), *end_ = begin_, *bytes_ = reserve(PROT_READ | PROT_WRITE);
  std::map<size_t, std::vector<char*>> free_;
  std::map<char*, size_t> sizes_;
};

void give_back(void* start) {
  if (start != nullptr) Memory::instance().give(start);
}

struct PretendAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* start = bytes == 0 ? nullptr : Memory::instance().take(bytes);
    return {start, start, &give_back, at::Device(kPretend, 0)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &give_back; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    const Memory& memory = Memory::instance();
    std::memcpy(memory.has(to) ? memory.bytes_of(to) : to, memory.has(from) ? memory.bytes_of(from) : from,
                bytes);
  }
};
PretendAllocator allocator;
REGISTER_ALLOCATOR(c10::DeviceType::PrivateUse1, &allocator)

struct PretendGuard final : c10::impl::NoOpDeviceGuardImpl<kPretend> {
  c10::Device exchangeDevice(c10::Device) const override { return {kPretend, 0}; }
  c10::Device getDevice() const override { return {kPretend, 0}; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }

 private:
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, c10::Device(kPretend, 0)); }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, PretendGuard)

// What autograd and at::manual_seed ask of an accelerator.
struct PretendHooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
};
PretendHooks hooks;

std::mutex reads_mutex;
std::map<std::string, int64_t> reads;
bool counting = false;

void count_read(const std::string& name) {
  const std::lock_guard lock(reads_mutex);
  if (counting) ++reads[name];
}

bool on_device(const at::Tensor& x) { return x.defined() && x.device().type() == kPretend; }

at::Tensor empty_on_device(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype) {
  return at::detail::empty_strided_generic(sizes, strides, &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), dtype);
}

// The same memory as a CPU tensor, valid while x is.
at::Tensor on_host(const at::Tensor& x) {
  if (!on_device(x)) return x;
  if (x.numel() == 0) return at::empty(x.sizes(), at::TensorOptions(x.scalar_type()));
  char* start = Memory::instance().bytes_of(x.storage().data()) +
                x.storage_offset() * static_cast<int64_t>(x.itemsize());
  const at::Tensor host = at::from_blob(start, x.sizes(), x.strides(), at::TensorOptions(x.scalar_type()));
  return x.is_conj() ? host.conj() : host;
}

at::Tensor to_device(const at::Tensor& x) {
  const at::Tensor copy = empty_on_device(x.sizes(), x.strides(), x.scalar_type());
  if (x.numel() > 0) on_host(copy).copy_(x);
  return copy;
}

// Operators whose result has a size that depends on numbers: a GPU makes the host wait for it.
bool size_depends_on_numbers(const std::string& name) {
  static const std::set<std::string> names = {
      "aten::nonzero",    "aten::masked_select",     "aten::_unique2",      "aten::unique_consecutive",
      "aten::unique_dim", "aten::repeat_interleave", "aten::nonzero_numpy", "aten::bincount"};
  return names.count(name) > 0;
}

class HostCall {
 public:
  explicit HostCall(const c10::OperatorHandle& op) : op_(op), name_(op.schema().name()) {}

  void run(torch::jit::Stack* stack) {
    const auto& schema = op_.schema();
    const size_t count = schema.arguments().size(), first = stack->size() - count;
    const std::vector<c10::IValue> given(stack->begin() + static_cast<int64_t>(first), stack->end());
    for (size_t i = 0; i < count; ++i) (*stack)[first + i] = translated(given[i]);
    if (host_ && device_) {
      TORCH_CHECK(false, "two devices meet in ", name_, ": a tensor was left on the CPU");
    }
    op_.callBoxed(stack);
    for (const auto& [own, host] : translated_) take_size(own, host);
    if (size_depends_on_numbers(name_)) count_read(name_.substr(6));
    const size_t results = schema.returns().size(), begin = stack->size() - results;
    for (size_t i = 0; i < results; ++i) {
      const c10::AliasInfo* alias = schema.returns()[i].alias_info();
      c10::IValue& value = (*stack)[begin + i];
      if (alias == nullptr) {
        value = result(value);
        continue;
      }
      TORCH_CHECK(alias->isWrite(), name_, ": the pretend device knows no such view");
      for (size_t a = 0; a < count; ++a) {
        const c10::AliasInfo* own = schema.arguments()[a].alias_info();
        if (own != nullptr && *own == *alias) value = given[a];
      }
    }
  }

 private:
  at::Tensor translated_tensor(const at::Tensor& x) {
    if (!x.defined()) return x;
    if (on_device(x)) {
      device_ = true;
    } else if (x.dim() > 0) {
      host_ = true;  // (a number may come from the host)
    }
    const at::Tensor host = on_host(x);
    if (on_device(x)) translated_.emplace_back(x, host);
    return host;
  }

  // After an operator that gave its output another size.
  static void take_size(const at::Tensor& own, const at::Tensor& host) {
    if (own.sizes() == host.sizes()) return;
    const at::Tensor fresh = to_device(host);
    own.unsafeGetTensorImpl()->set_storage_keep_dtype(fresh.storage());
    own.unsafeGetTensorImpl()->set_sizes_and_strides(fresh.sizes(), fresh.strides());
  }

  c10::IValue translated(const c10::IValue& value) {
    if (value.isTensor()) return translated_tensor(value.toTensor());
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& x : value.toTensorVector()) list.push_back(translated_tensor(x));
      return list;
    }
    if (value.isOptionalTensorList()) {
      c10::List<std::optional<at::Tensor>> list;
      for (const std::optional<at::Tensor>& x : value.toOptionalTensorVector()) {
        list.push_back(x ? std::optional<at::Tensor>(translated_tensor(*x)) : std::nullopt);
      }
      return list;
    }
    if (value.isDevice() && value.toDevice().type() == kPretend) {
      device_ = true;
      return c10::Device(c10::kCPU);
    }
    return value;
  }

  c10::IValue result(const c10::IValue& value) {
    if (value.isTensor()) return value.toTensor().defined() ? to_device(value.toTensor()) : value.toTensor();
    if (value.isTensorList()) {
      c10::List<at::Tensor> list;
      for (const at::Tensor& x : value.toTensorVector()) list.push_back(to_device(x));
      return list;
    }
    if (value.isBool() || value.isInt() || value.isDouble()) count_read(name_.substr(6));
    return value;
  }

  const c10::OperatorHandle& op_;
  std::string name_;
  std::vector<std::pair<at::Tensor, at::Tensor>> translated_;
  bool host_ = false, device_ = false;
};

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) { HostCall(op).run(stack); }

at::Tensor empty_memory_format(at::IntArrayRef size, std::optional<at::ScalarType> dtype,
                               std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>,
                               std::optional<at::MemoryFormat> format) {
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   dtype.value_or(at::kFloat), format);
}

at::Tensor empty_strided(at::IntArrayRef size, at::IntArrayRef stride, std::optional<at::ScalarType> dtype,
                         std::optional<at::Layout>, std::optional<at::Device>, std::optional<bool>) {
  return empty_on_device(size, stride, dtype.value_or(at::kFloat));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  if (on_device(from) && !on_device(to)) count_read("_copy_from");
  on_host(to).copy_(on_host(from));
  return to;
}

at::Scalar local_scalar(const at::Tensor& x) {
  count_read("_local_scalar_dense");
  return on_host(x).item();
}

// (ATen asks a device of its own kind for these by name.)
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
                       at::IntArrayRef stride, at::IntArrayRef padding, at::IntArrayRef dilation,
                       bool transposed, at::IntArrayRef output_padding, int64_t groups) {
  TORCH_CHECK(on_device(x) && on_device(weight) && (!bias || !bias->defined() || on_device(*bias)),
              "two devices meet in a convolution: a tensor was left on the CPU");
  const auto host_bias = bias && bias->defined() ? std::optional<at::Tensor>(on_host(*bias)) : std::nullopt;
  return to_device(at::convolution(on_host(x), on_host(weight), host_bias, stride, padding, dilation,
                                   transposed, output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& x, const at::Tensor& weight, at::IntArrayRef stride,
    at::IntArrayRef padding, at::IntArrayRef dilation, bool transposed, at::IntArrayRef output_padding,
    int64_t groups, std::array<bool, 3> wanted) {
  const auto [dx, dw, db] = at::convolution_backward(on_host(gradient), on_host(x), on_host(weight),
                                                     at::IntArrayRef({weight.size(0)}), stride, padding,
                                                     dilation, transposed, output_padding, groups, wanted);
  const auto back = [](const at::Tensor& y) { return y.defined() ? to_device(y) : y; };
  return {back(dx), back(dw), back(db)};
}

}  // namespace

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

// Copying is how ATen itself takes a pending conjugation in.
TORCH_LIBRARY_IMPL(aten, Conjugate, m) { m.impl("_copy_from", torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty_memory_format);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_local_scalar_dense", &local_scalar);
  m.impl("as_strided", &at::native::as_strided_tensorimpl);
  m.impl("view", static_cast<at::Tensor (*)(const at::Tensor&, at::IntArrayRef)>(&at::native::view));
  m.impl("_reshape_alias", static_cast<at::Tensor (*)(const at::Tensor&, at::IntArrayRef, at::IntArrayRef)>(
                               &at::native::_reshape_alias));
  m.impl("view_as_real", &at::native::view_as_real);
  m.impl("convolution_overrideable", &convolution);
  m.impl("convolution_backward_overrideable", &convolution_backward);
}

at::Device pretend_device() {
  // Autograd asks for the one accelerator of a process; not before it is wanted, or a card's would not be it.
  static const bool registered = [] {
    at::RegisterPrivateUse1HooksInterface(&hooks);
    c10::register_privateuse1_backend("pretend");
    return true;
  }();
  static_cast<void>(registered);
  return {kPretend, 0};
}

bool is_pretend(at::Device device) { return device.type() == kPretend; }

HostReads::HostReads() {
  const std::lock_guard lock(reads_mutex);
  reads.clear();
  counting = true;
}
HostReads::~HostReads() {
  const std::lock_guard lock(reads_mutex);
  counting = false;
}
std::map<std::string, int64_t> HostReads::counts() const {
  const std::lock_guard lock(reads_mutex);
  return reads;
}
int64_t HostReads::total() const {
  int64_t sum = 0;
  for (const auto& [name, count] : counts()) sum += count;
  return sum;
}

}  // namespace ropescope::testing
