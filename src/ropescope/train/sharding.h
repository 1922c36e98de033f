// Training one model in several processes, each with its own rows: gradients are summed over the ranks and,
// as asked, what every rank would hold is cut into slices (ZeRO, Rajbhandari et al. 2020, arXiv 1910.02054).
//   N ranks, P trained numbers   weights   gradients   AdamW      exchanged in a step
//   none                         4 P       4 P         8 P        all-reduce of gradients
//   optimizer    (ZeRO-1)        4 P       4 P         8 P / N    reduce-scatter, all-gather of weights
//   gradients    (ZeRO-2)        4 P       4 P / N     8 P / N    reduce-scatter a micro-batch, all-gather
//   parameters   (ZeRO-3)        4 P / N   4 P / N     8 P / N    reduce-scatter, two all-gathers
// (bytes a rank, float32, between passes). Under `parameters` a part of the model (a layer, an embedding
// table) is whole only while it is used, and from the moment on at which the part before it is: what a pass
// will use next is known from the pass before, and a thread brings it while the arithmetic goes on. Ranks need
// not do the same: one that has fewer rows, or rows without images, helps the others along until they are done.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/train/background_jobs.h"
#include "ropescope/train/flat_unit.h"
#include "ropescope/train/optimizer.h"
#include "ropescope/train/process_group.h"
#include "ropescope/train/spare_memory.h"

namespace ropescope {

enum class ShardMode { kNone, kOptimizer, kGradients, kParameters };
/// "none", "optimizer", "gradients", "parameters". Throws UsageError.
ShardMode parse_shard_mode(const std::string& name);
std::string shard_mode_name(ShardMode mode);

/// Bytes of one rank.
struct ShardMemory {
  int64_t parameters = 0;        ///< kept all the time
  int64_t gradients = 0;         ///< kept from the first backward pass to the update
  int64_t optimizer = 0;         ///< AdamW's two averages
  int64_t gathered_at_most = 0;  ///< the largest part that is whole while it is used
};

class Sharding : public WeightAccess {
 public:
  /// `trained`: leaves of the model; `slots`: all its tensors, these included. Takes over their storage.
  /// Every rank gives the same. `group` must live as long. Under `parameters` the slices, the sums of
  /// gradients and what the optimizer updates stay float32, and parts are gathered and used in the type
  /// `compute`.
  Sharding(ProcessGroup& group, ShardMode mode, const std::vector<Parameter>& trained,
           const std::vector<TensorSlot>& slots, at::ScalarType compute = at::kFloat);
  ~Sharding() override;

  ProcessGroup& group() const { return group_; }
  ShardMode mode() const { return mode_; }
  /// What this rank's optimizer updates: whole tensors, or the pieces in its slices, perhaps empty ones. In
  /// the order of `trained`.
  const std::vector<Parameter>& pieces() const { return pieces_; }

  // A step: begin_step, then for each micro-batch begin_backward, its passes, end_backward, then finish_step.
  void begin_step();
  void begin_backward(bool last);
  void end_backward();
  /// Completes all sums and gives the pieces their gradients: none to those that no rank had one for.
  void finish_step();
  /// In the middle of a step that cannot be finished: the exchanges under way are left.
  void give_up();
  /// Over all ranks.
  double gradient_norm() const;
  void drop_gradients();
  /// After the optimizer's update: the ranks' slices become whole again where they are kept whole.
  void after_update();

  void acquire(const at::Tensor& weight) override;
  void release(const at::Tensor& weight) override;

  // Whole tensors for checkpoints. All ranks ask for the same ones in the same order.
  at::Tensor whole_weight(const TensorSlot& slot);
  /// `state`: as AdamW::state() names it.
  at::Tensor whole_state(const AdamW& optimizer, const std::string& state);
  void end_whole();  ///< gives back what was put together last
  /// Whether a tensor is only there while it is used: it is loaded by load_weight.
  bool keeps_slice_of(const std::string& name) const;
  at::ScalarType kept_type(const TensorSlot& slot) const;  ///< of the whole tensor
  void load_weight(const TensorSlot& slot, const at::Tensor& whole);
  /// What of a whole state belongs to this rank's optimizer.
  std::map<std::string, at::Tensor> own_state(const std::map<std::string, at::Tensor>& whole) const;

  /// Parts that were gathered, those of them that were asked for before they were needed, those that were there
  /// by then, and the most that were whole, or on their way, at once. Since the sharding was made.
  struct Gathers {
    int64_t parts = 0, ahead = 0, in_time = 0, most_at_once = 0;
  };
  const Gathers& gathers() const { return gathers_; }

  int64_t gradient_bytes() const { return gradient_bytes_; }
  /// What is held at the moment.
  ShardMemory measure(const AdamW& optimizer) const;

 private:
  struct Unit {
    FlatUnit flat;
    std::vector<bool> arrived = {};  // by entry: whether its gradient of this backward pass is there
    int64_t users = 0;               // of the whole numbers
    bool ready = false;
    at::Tensor gradient = {};        // [size]
    at::Tensor slice_gradient = {};  // [n]
    at::Tensor sum = {};             // [n], on its way
    ProcessGroup::Pending pending = {};
    BackgroundJobs::Ticket coming = 0;  // the job that gathers it, until somebody has waited for it
  };
  struct Place {
    size_t unit = 0, entry = 0;
  };
  class Arrival;
  // The gathered weights of the part before and the next, and the gradients of this one, are never there all at once with
  // others: what two of them held waits for its next use at most.
  static constexpr size_t kSpare = 2;

  void add_units(const std::vector<Parameter>& trained, const std::vector<TensorSlot>& slots,
                 at::ScalarType compute);
  void arrived(Place place, const at::Tensor& weight);
  void launch_ready();
  // Told by the passes.
  void bring(const std::string& part);
  void look_ahead(const std::string& part);
  void forget_ahead();
  void send_gradient(size_t index);
  void finish_exchanges();
  // In the thread of the exchanges.
  void join(int64_t wish, const at::Tensor& gradient);
  void perform(int64_t action, const at::Tensor& gradient, bool mine);
  void gather(Unit& unit, bool mine);
  void reduce(size_t index, const at::Tensor& gradient);
  void settle(size_t allowed);
  template <typename MakeSlice>
  at::Tensor whole_entry(Place place, const std::string& kind, const MakeSlice& make_slice);
  // A unit that is one of many alike uses what another one had; what others had is freed.
  const SpareMemory& memory_for(const Unit& unit) const {
    return is_layer_part(unit.flat.name()) ? spare_ : fresh_;
  }
  bool keeps_whole_gradients() const { return mode_ == ShardMode::kNone || mode_ == ShardMode::kOptimizer; }

  ProcessGroup& group_;
  ShardMode mode_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::vector<size_t> order_;                                    // in which gradients are reduced
  std::unordered_map<const at::TensorImpl*, std::string> part_;  // of sharded weights
  std::map<std::string, std::vector<size_t>> units_of_part_;
  std::unordered_map<std::string, Place> places_;  // by name
  std::vector<std::string> trained_;
  std::vector<Parameter> pieces_;
  std::vector<Place> place_of_piece_;
  std::vector<bool> touched_;
  std::vector<size_t> outstanding_;  // units whose reduction is under way, oldest first
  // Which part a pass used after which two; the last two of this pass, and the one that has been asked for ahead.
  std::map<std::pair<std::string, std::string>, std::string> follows_;
  std::pair<std::string, std::string> used_;
  std::string ahead_;
  Gathers gathers_;
  BackgroundJobs::Ticket reduction_ = 0;  // the last one
  size_t next_ = 0;                       // of order_, under kNone and kOptimizer
  bool last_ = false;
  int64_t other_bytes_ = 0;     // of tensors that are in no unit
  int64_t gradient_bytes_ = 0;  // when the last step was complete
  struct Whole {
    size_t unit = 0;
    at::Tensor values;
  };
  SpareMemory spare_{kSpare}, fresh_{0};
  std::map<std::string, Whole> whole_;  // what was put together last of each kind
  BackgroundJobs jobs_;                 // (ends before all that it uses)
};

}  // namespace ropescope
