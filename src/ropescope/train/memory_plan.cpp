#include "ropescope/train/memory_plan.h"

#include <algorithm>
#include <initializer_list>
#include <set>

#include <c10/core/ScalarType.h>

#include "ropescope/core/strings.h"
#include "ropescope/train/flat_unit.h"

namespace ropescope {

namespace {

// LibTorch's code and tables, the tokenizer, threads.
constexpr int64_t kProgramBytes = int64_t{300} << 20;
constexpr int64_t kMaster = sizeof(float);
constexpr int64_t kLossChunk = int64_t{64} << 20;

// A part of the model, in numbers.
struct Part {
  std::string name;
  int64_t numbers = 0, trained = 0, inner = 0;  // inner: of its MLP
  int64_t largest = 0;                          // of its trained tensors
  bool is_layer = false, of_tower = false;
};

// Widths of a decoder or a tower.
struct Widths {
  int64_t hidden = 0, query = 0, key = 0, inner = 0, layers = 0, vocabulary = 0, patches = 0;
};

struct Model {
  std::vector<Part> parts;  // in the order in which their gradients come
  Widths decoder, tower;
  int64_t numbers = 0, trained = 0, cut = 0, whole_trained = 0;
  bool tower_learns = false;
};

bool ends_with_any(const std::string& name, std::initializer_list<const char*> endings) {
  return std::any_of(endings.begin(), endings.end(),
                     [&](const char* ending) { return name.ends_with(ending); });
}

void read_widths(const TensorSlot& slot, bool of_tower, Model& model) {
  const std::string& name = slot.name;
  Widths& widths = of_tower ? model.tower : model.decoder;
  // (Towers over patches have a fused matrix, whose parts are named apart.)
  if (ends_with_any(name, {"q_proj.weight", "attn.qkv.q.weight"})) {
    widths.query = slot.shape[0];
    widths.hidden = slot.shape[1];
    ++widths.layers;
  }
  if (contains(name, "k_proj.weight")) widths.key = slot.shape[0];
  if (ends_with_any(name, {"gate_proj.weight", "fc1.weight"})) widths.inner = slot.shape[0];
  if (contains(name, "embed_tokens.weight")) widths.vocabulary = slot.shape[0];
  if (contains(name, "position_embedding")) widths.patches = slot.shape[0];
}

Model read_model(const std::vector<TensorSlot>& slots, const std::vector<std::string>& trained) {
  const std::set<std::string> learns(trained.begin(), trained.end());
  Model model;
  for (const TensorSlot& slot : slots) {
    int64_t numbers = 1;
    for (const int64_t side : slot.shape) numbers *= side;
    const bool of_tower = is_tower_tensor(slot.name);
    if (!is_connector_tensor(slot.name)) read_widths(slot, of_tower, model);
    const std::string name = part_of(slot.name);
    auto part = std::find_if(model.parts.begin(), model.parts.end(),
                             [&](const Part& one) { return one.name == name; });
    if (part == model.parts.end()) {
      part = model.parts.insert(part, Part{name, 0, 0, 0, 0, is_layer_part(name), is_tower_tensor(name)});
    }
    part->numbers += numbers;
    model.numbers += numbers;
    if (!name.empty()) model.cut += numbers;
    if (contains(slot.name, ".mlp.")) part->inner += numbers;
    if (learns.count(slot.name) == 0) continue;
    part->trained += numbers;
    part->largest = std::max(part->largest, numbers);
    model.trained += numbers;
    model.tower_learns |= of_tower;
  }
  const auto late = [](const Part& part) {
    if (part.name.empty()) return 4;
    if (part.of_tower) return 3;
    if (contains(part.name, "lm_head")) return 0;
    return part.is_layer ? 1 : 2;
  };
  std::reverse(model.parts.begin(), model.parts.end());
  std::stable_sort(model.parts.begin(), model.parts.end(),
                   [&](const Part& a, const Part& b) { return late(a) < late(b); });
  return model;
}

// Numbers a token that a layer keeps for its backward pass: two norms and their inputs, queries, keys and
// values, the attention's output, and of the MLP gate, value and product.
int64_t kept_by_layer(const Widths& w) { return 4 * w.hidden + 2 * w.query + 2 * w.key + 3 * w.inner; }
// What its widest moment, in the middle of the MLP, needs beside these.
int64_t passing_in_layer(const Widths& w) { return 2 * w.hidden + 2 * w.inner; }
// Layer norms, one matrix a step, an activation of several operations.
int64_t kept_by_tower_layer(const Widths& w) { return 8 * w.hidden + 4 * w.inner; }

class Step {
 public:
  Step(const Model& model, const PlannedRun& run) : model_(model), run_(run) {
    cuts_gradients_ = run.mode == ShardMode::kGradients || run.mode == ShardMode::kParameters;
    gathers_ = run.mode == ShardMode::kParameters;
    width_ = static_cast<int64_t>(c10::elementSize(run.compute));
  }

  int64_t activations() const {
    const Widths& w = model_.decoder;
    const int64_t layer = run_.recomputes ? w.hidden : kept_by_layer(w);
    int64_t bytes = width_ * run_.tokens * (w.layers * layer + w.hidden);
    // What the projector keeps: its first product, the activation's output and the result.
    bytes += width_ * run_.image_tokens * 3 * w.hidden;
    if (model_.tower_learns) {
      bytes += width_ * run_.tower_tokens * model_.tower.layers * kept_by_tower_layer(model_.tower);
    }
    return bytes;
  }

  // Beyond what is held all the time; gradients included.
  int64_t most() {
    const bool whole = !cuts_gradients_ || run_.micro_batches > 1;  // gradients, from the first pass on
    gradients_ = whole ? gradient_bytes(model_.trained) : 0;
    kept_ = activations();
    if (!gathers_ && width_ != kMaster) kept_ += width_ * model_.numbers;  // the model in another type
    kept_ += kMaster * run_.adapted;
    see(of_loss() + coming(0));
    kept_ += tied_gradient();
    int64_t leaving = 0;  // gradients of the part before, on their way to the other ranks
    for (size_t i = 0; i < model_.parts.size(); ++i) {
      const Part& part = model_.parts[i];
      if (part.is_layer && !part.of_tower) kept_ -= width_ * run_.tokens * kept_layer();
      see(of_part(part) + coming(i + 1) + leaving);
      see(leaving = exchanged(part));
      if (!whole) gradients_ += gradient_bytes(part.trained);
    }
    kept_ = 0;
    see(0);  // the update
    return most_;
  }

 private:
  int64_t kept_layer() const {
    return run_.recomputes ? model_.decoder.hidden : kept_by_layer(model_.decoder);
  }
  int64_t gradient_bytes(int64_t numbers) const {
    return kMaster * numbers / (cuts_gradients_ ? run_.world : 1);
  }
  void see(int64_t passing) { most_ = std::max(most_, gradients_ + kept_ + passing); }

  int64_t of_loss() const {
    const Widths& w = model_.decoder;
    const int64_t table = w.vocabulary * w.hidden, token = std::max<int64_t>(1, kMaster * w.vocabulary);
    const int64_t chunk = std::min(run_.tokens * token, std::max(16 * token, kLossChunk));
    const int64_t gradient = adds_in_place() ? 0 : table;
    return chunk + width_ * run_.tokens * 2 * w.hidden + kMaster * gradient + (gathers_ ? width_ * table : 0);
  }

  // The gradient of the output matrix is added in place where there is one process.
  bool adds_in_place() const {
    return run_.mode == ShardMode::kNone && run_.world == 1 && run_.micro_batches > 1;
  }

  // Where the embedding table is the output matrix too, autograd keeps what the loss gives it until the pass is back at it.
  int64_t tied_gradient() const {
    const auto part = [this](const char* word) {
      return std::find_if(model_.parts.begin(), model_.parts.end(),
                          [&](const Part& one) { return contains(one.name, word); });
    };
    const auto table = part("embed_tokens");
    const bool tied = table != model_.parts.end() && part("lm_head") == model_.parts.end();
    return tied && !adds_in_place() ? width_ * table->trained : 0;
  }

  // The part that is gathered while the one before it is at work.
  int64_t coming(size_t index) const {
    if (!gathers_ || index >= model_.parts.size() || model_.parts[index].name.empty()) return 0;
    return width_ * model_.parts[index].numbers;
  }

  // A row of gradients, on the CPU the other ranks' slices of it, and the sum of a slice.
  int64_t exchanged(const Part& part) const {
    if (!cuts_gradients_ || part.name.empty()) return 0;
    const int64_t flat = kMaster * part.trained, slice = flat / run_.world;
    return flat + (run_.on_cpu ? flat - slice : 0) + slice;
  }

  int64_t of_part(const Part& part) const {
    if (part.name.empty() || part.trained == 0) return 0;
    const Widths& w = model_.decoder;
    const int64_t gathered = gathers_ ? width_ * part.numbers : 0;
    int64_t inside = 0;
    if (part.is_layer && !part.of_tower) {
      const int64_t made = run_.recomputes ? part.inner : part.largest;
      inside =
          width_ * (made + run_.tokens * (passing_in_layer(w) + (run_.recomputes ? kept_by_layer(w) : 0)));
    }
    if (!cuts_gradients_) return std::max(inside, width_ * (run_.recomputes ? part.trained : part.largest));
    // Autograd's own gradients are copied to a row.
    const int64_t arriving =
        width_ * (run_.recomputes ? part.trained : part.largest) + kMaster * part.trained;
    return gathered + std::max(inside, arriving);
  }

  const Model& model_;
  const PlannedRun& run_;
  bool cuts_gradients_ = false, gathers_ = false;
  int64_t width_ = kMaster, gradients_ = 0, kept_ = 0, most_ = 0;
};

int64_t largest_part(const Model& model) {
  int64_t largest = 0;
  for (const Part& part : model.parts) {
    if (!part.name.empty()) largest = std::max(largest, part.numbers);
  }
  return largest;
}

}  // namespace

MemoryPlan plan_memory(const std::vector<TensorSlot>& slots, const std::vector<std::string>& trained,
                       const PlannedRun& run) {
  const Model model = read_model(slots, trained);
  const bool cuts_parameters = run.mode == ShardMode::kParameters;
  const bool cuts_gradients = cuts_parameters || run.mode == ShardMode::kGradients;
  MemoryPlan plan;
  const int64_t cut = cuts_parameters ? model.cut : 0;
  plan.held.parameters = kMaster * (model.numbers - cut + cut / run.world);
  plan.held.gradients = kMaster * model.trained / (cuts_gradients ? run.world : 1);
  plan.held.optimizer = 2 * kMaster * model.trained / (run.mode == ShardMode::kNone ? 1 : run.world);
  if (cuts_parameters) {
    plan.held.gathered_at_most = static_cast<int64_t>(c10::elementSize(run.compute)) * largest_part(model);
  }
  Step step(model, run);
  plan.activations = step.activations();
  plan.step = plan.held.parameters + plan.held.optimizer + step.most();
  // The files' tensors, and what of them has been cut into slices or copied.
  plan.loading = kMaster * model.numbers +
                 (cuts_parameters ? plan.held.parameters : kMaster * model.trained) +
                 (cuts_parameters ? kMaster * largest_part(model) : 0);
  plan.peak = std::max(plan.loading, plan.step) + kProgramBytes;
  return plan;
}

}  // namespace ropescope
