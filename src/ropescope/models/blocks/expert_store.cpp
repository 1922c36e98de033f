#include "ropescope/models/blocks/expert_store.h"

#include <tuple>
#include <utility>
#include <vector>

#include <fmt/ranges.h>

#include "ropescope/core/errors.h"
#include "ropescope/models/blocks/expert_formats.h"

namespace ropescope {

namespace {

constexpr int64_t kMxfp4Block = 32;

// Every second of `x` along a dimension, from `first` on.
at::Tensor every_second(const at::Tensor& x, int64_t dimension, int64_t first) {
  return x.slice(dimension, first, x.size(dimension), 2);
}

// What the forms share: names, sizes and the way of a tensor to the device.
class StoredExperts : public ExpertSource {
 public:
  struct Place {
    std::shared_ptr<const Checkpoint> checkpoint;
    std::string prefix;
    int64_t count = 0, inner = 0, hidden = 0;
    at::ScalarType dtype = at::kFloat;
    at::Device device = at::kCPU;

    bool has(const std::string& name) const { return checkpoint->find(prefix + name) != nullptr; }
  };

  explicit StoredExperts(Place place) : place_(std::move(place)) {}

  Expert take(int64_t expert) const override {
    if (expert < 0 || expert >= place_.count) {
      throw InternalError("{}: expected an expert below {}, found {}", place_.prefix, place_.count, expert);
    }
    return read(expert);
  }

 protected:
  virtual Expert read(int64_t expert) const = 0;

  void expect(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorInfo* info = place_.checkpoint->find(place_.prefix + name);
    if (info == nullptr) {
      throw InputError("checkpoint: expected the experts' tensor {} [{}], found none", place_.prefix + name,
                       fmt::join(shape, ", "));
    }
    if (info->shape != shape) {
      throw InputError("{}: tensor \"{}\": expected [{}], found [{}]", info->file, info->name,
                       fmt::join(shape, ", "), fmt::join(info->shape, ", "));
    }
  }

  /// The part of a stack that is one expert's.
  at::Tensor part(const std::string& name, int64_t expert, at::ScalarType dtype) const {
    return place_.checkpoint->take_rows(place_.prefix + name, expert, 1, dtype).squeeze(0);
  }
  at::Tensor part(const std::string& name, int64_t expert) const {
    return part(name, expert, place_.dtype).to(place_.device);
  }

  const Place place_;
};

// Three matrices an expert.
class SeparateExperts final : public StoredExperts {
 public:
  explicit SeparateExperts(Place place) : StoredExperts(std::move(place)) {
    for (int64_t e = 0; e < place_.count; ++e) {
      expect(name(e, "gate"), {place_.inner, place_.hidden});
      expect(name(e, "up"), {place_.inner, place_.hidden});
      expect(name(e, "down"), {place_.hidden, place_.inner});
    }
  }

 private:
  static std::string name(int64_t expert, const char* matrix) {
    return fmt::format(".{}.{}_proj.weight", expert, matrix);
  }
  at::Tensor matrix(int64_t expert, const char* matrix) const {
    return take_scaled(*place_.checkpoint, place_.prefix + name(expert, matrix), place_.dtype)
        .to(place_.device);
  }
  Expert read(int64_t expert) const override {
    return {matrix(expert, "gate"), matrix(expert, "up"), matrix(expert, "down"), {}, {}, {}};
  }
};

// One stack for each of the three matrices.
class StacksOfMatrices final : public StoredExperts {
 public:
  explicit StacksOfMatrices(Place place)
      : StoredExperts(std::move(place)), biased_(place_.has(".gate_proj.bias")) {
    const int64_t count = place_.count, inner = place_.inner, hidden = place_.hidden;
    expect(".gate_proj.weight", {count, inner, hidden});
    expect(".up_proj.weight", {count, inner, hidden});
    expect(".down_proj.weight", {count, hidden, inner});
    if (!biased_) return;
    expect(".gate_proj.bias", {count, inner});
    expect(".up_proj.bias", {count, inner});
    expect(".down_proj.bias", {count, hidden});
  }

 private:
  Expert read(int64_t expert) const override {
    Expert taken{part(".gate_proj.weight", expert),
                 part(".up_proj.weight", expert),
                 part(".down_proj.weight", expert),
                 {},
                 {},
                 {}};
    if (biased_) {
      taken.gate_bias = part(".gate_proj.bias", expert);
      taken.up_bias = part(".up_proj.bias", expert);
      taken.down_bias = part(".down_proj.bias", expert);
    }
    return taken;
  }
  bool biased_;
};

// gate and up in one stack, as halves or alternating; matrices as [out, in] or [in, out], or as blocks of 4-bit floats.
class StacksOfPairs final : public StoredExperts {
 public:
  StacksOfPairs(Place place, ExpertForm form)
      : StoredExperts(std::move(place)),
        alternating_(form == ExpertForm::kStackedInOutAlternating),
        blocks_(place_.has(".gate_up_proj_blocks")),
        in_out_(form != ExpertForm::kStackedOutIn && !blocks_),
        biased_(alternating_ || place_.has(".gate_up_proj_bias")) {
    const int64_t pair = 2 * place_.inner;
    expect_matrix(".gate_up_proj", pair, place_.hidden);
    expect_matrix(".down_proj", place_.hidden, place_.inner);
    if (!biased_) return;
    expect(".gate_up_proj_bias", {place_.count, pair});
    expect(".down_proj_bias", {place_.count, place_.hidden});
  }

 private:
  void expect_matrix(const std::string& name, int64_t out, int64_t in) const {
    const int64_t count = place_.count;
    if (!blocks_) {
      expect(name, in_out_ ? std::vector{count, in, out} : std::vector{count, out, in});
      return;
    }
    if (in % kMxfp4Block != 0) {
      throw InputError("{}{}_blocks: expected rows of a multiple of {} numbers, found {}", place_.prefix,
                       name, kMxfp4Block, in);
    }
    expect(name + "_blocks", {count, out, in / kMxfp4Block, kMxfp4Block / 2});
    expect(name + "_scales", {count, out, in / kMxfp4Block});
  }

  at::Tensor matrix(const std::string& name, int64_t expert) const {
    if (blocks_) {
      const at::Tensor blocks = part(name + "_blocks", expert, at::kByte);
      return widen_mxfp4(blocks, part(name + "_scales", expert, at::kByte), place_.dtype).to(place_.device);
    }
    const at::Tensor stored = part(name, expert);
    return in_out_ ? stored.t() : stored;
  }

  // gate and up of [2 I, ...].
  std::pair<at::Tensor, at::Tensor> halves(const at::Tensor& pair) const {
    if (!alternating_) return {pair.narrow(0, 0, place_.inner), pair.narrow(0, place_.inner, place_.inner)};
    // Products want rows or columns that lie side by side.
    return {every_second(pair, 0, 0).contiguous(), every_second(pair, 0, 1).contiguous()};
  }

  Expert read(int64_t expert) const override {
    Expert taken;
    std::tie(taken.gate, taken.up) = halves(matrix(".gate_up_proj", expert));
    taken.down = matrix(".down_proj", expert);
    if (biased_) {
      std::tie(taken.gate_bias, taken.up_bias) = halves(part(".gate_up_proj_bias", expert));
      taken.down_bias = part(".down_proj_bias", expert);
    }
    return taken;
  }

  bool alternating_, blocks_, in_out_, biased_;
};

}  // namespace

std::shared_ptr<const ExpertSource> expert_source(std::shared_ptr<const Checkpoint> checkpoint,
                                                  const std::string& prefix, const ExpertShape& shape,
                                                  int64_t hidden_size, at::ScalarType dtype,
                                                  at::Device device) {
  StoredExperts::Place place{std::move(checkpoint), prefix, shape.count, shape.inner,
                             hidden_size,           dtype,  device};
  if (place.has(".gate_proj.weight")) return std::make_shared<StacksOfMatrices>(std::move(place));
  if (shape.form == ExpertForm::kEach) return std::make_shared<SeparateExperts>(std::move(place));
  return std::make_shared<StacksOfPairs>(std::move(place), shape.form);
}

}  // namespace ropescope
