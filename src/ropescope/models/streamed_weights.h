// Weights that stay in their files: a layer is converted when a pass comes to it and forgotten behind it, the next one is
// begun beside the arithmetic. A measurement passes over given tokens once, so it needs each layer once (models/
// forward_run.h runs many texts through a layer while it is there).
//   memory = (1 + ahead) layers + what a pass holds, whatever the model's depth
// Numbers are those of a decoder that is loaded whole: the same conversions, the same products.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>

#include "ropescope/models/decoder.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/models/weight_access.h"
#include "ropescope/weights/checkpoint.h"

namespace ropescope {

/// Whether weights are to be streamed: as `mode` says; kAuto by the main memory that is left, which it then says on
/// stderr.
bool weights_are_streamed(WeightMode mode, at::Device device, at::ScalarType dtype, const WeightBytes& bytes);

class StreamedWeights final : public WeightAccess {
 public:
  /// Of the next part, what is converted while the present one is in use: half of it hides most of the work, and costs
  /// half a layer of memory.
  static constexpr double kAhead = 0.5;

  StreamedWeights(std::shared_ptr<const Checkpoint> checkpoint, at::ScalarType dtype, at::Device device,
                  double ahead = kAhead);
  ~StreamedWeights() override;

  /// Tensors that come and go together. Parts are mostly used in the order in which they are added. Targets become
  /// tensors of the right shape, type and device without memory. `slots` have passed check_slots.
  void add_part(const std::vector<TensorSlot>& slots);
  /// A table of which rows are taken: an embedding, an output matrix. `checkpoint` gives rows of it cheaply.
  void add_table(const TensorSlot& slot);

  /// Throws what reading throws (InputError), EnvironmentError for want of memory.
  void acquire(const at::Tensor& weight) override;
  void release(const at::Tensor& weight) override;
  bool by_rows(const at::Tensor& table) const override;
  at::Tensor rows(const at::Tensor& table, const at::Tensor& ids) const override;
  at::Tensor rows_between(const at::Tensor& table, int64_t first, int64_t count) const override;

 private:
  struct Piece {
    TensorSlot slot;          // its target is `tensor`
    at::Tensor tensor;        // what the model has
    bool lies_ready = false;  // the file has it in this very form: nothing is converted, the map is used
    bool scaled = false;      // block scales lie beside it
    uint64_t bytes = 0;
    bool reusable = false;  // while it is there: its memory is ours to write again
  };
  struct Part {
    std::vector<Piece> pieces;
    uint64_t bytes = 0;  // that are converted
    int64_t held = 0;
  };

  Piece piece_of(const TensorSlot& slot) const;
  at::Tensor fetch(const Piece& piece);
  at::Tensor buffer_for(const Piece& piece);
  void fetch_ahead();
  void begin(int64_t part);
  void bring(int64_t part);
  const std::string& table_name(const at::Tensor& table) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  at::ScalarType dtype_;
  at::Device device_;
  double ahead_;
  std::vector<Part> parts_;
  std::unordered_map<const c10::TensorImpl*, int64_t> part_of_;
  std::unordered_map<const c10::TensorImpl*, std::string> tables_;
  std::vector<at::Tensor> tables_kept_;  // so that no other tensor gets their address

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::unordered_multimap<uint64_t, c10::Storage> spare_;  // memory of released tensors by its bytes
  int64_t fetching_ = -1;                                  // the part that is being fetched
  std::vector<at::Tensor> fetched_;
  size_t next_piece_ = 0;
  uint64_t fetched_bytes_ = 0;
  bool in_flight_ = false, needed_now_ = false, stop_ = false;
  std::exception_ptr error_;
  std::thread reader_;
};

}  // namespace ropescope
