#include "ropescope/train/trained_llava.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "ropescope/architectures/llava_names.h"
#include "ropescope/core/errors.h"
#include "ropescope/train/llava_batch.h"

namespace ropescope {

namespace {

/// Rows as the loader gives them: images are normalised when the loss is taken, so that a step's images wait
/// as bytes.
struct WaitingRows {
  std::vector<LlavaRow> rows;
  std::vector<std::vector<at::Tensor>> tiles;  // uint8, of each row's images

  std::vector<LlavaRow> normalised(const PreprocessSettings& settings) const {
    std::vector<LlavaRow> ready = rows;
    for (size_t i = 0; i < ready.size(); ++i) {
      for (size_t j = 0; j < ready[i].images.size(); ++j) {
        ready[i].images[j].pixel_values = normalize_tiles(tiles[i][j], settings);
      }
    }
    return ready;
  }
};

}  // namespace

void TrainedLlava::after_load() {
  if (llava_.decoder.config.tie_word_embeddings) {
    llava_.decoder.weights.lm_head = llava_.decoder.weights.embed_tokens;
  }
}

std::vector<int64_t> TrainedLlava::lengths() const {
  std::vector<int64_t> lengths;
  for (const ConversationRow& row : rows_) {
    const auto tokens = static_cast<int64_t>(row.text.ids.size());
    lengths.push_back(row.images.empty() ? -tokens : tokens);
  }
  return lengths;
}

std::vector<std::filesystem::path> TrainedLlava::files_of(const ConversationRow& row) const {
  std::vector<std::filesystem::path> files;
  for (const std::string& name : row.images) files.push_back(settings_.image_folder / name);
  return files;
}

void TrainedLlava::prefetch(const std::vector<int64_t>& rows) {
  for (const int64_t index : rows) {
    const ConversationRow& row = rows_.at(static_cast<size_t>(index));
    if (!row.images.empty()) loader_.prefetch(index, files_of(row));
  }
}

RowTotals TrainedLlava::totals() const {
  const AnyresOptions& anyres = *loader_.settings().anyres;  // (without it there is no loader)
  int64_t largest = 0;
  for (const auto& [one, other] : anyres.pinpoints) {
    largest = std::max(
        {largest, anyres_geometry(one, other, anyres).tokens, anyres_geometry(other, one, anyres).tokens});
  }
  RowTotals totals;
  for (const ConversationRow& row : rows_) {
    const auto images = static_cast<int64_t>(row.images.size());
    const int64_t longest = static_cast<int64_t>(row.text.ids.size()) + images * (largest - 1);
    totals.add(row.text.labels);
    totals.images += images;
    totals.image_tokens += largest * images;
    totals.tokens -= images;
    const bool is_cut = settings_.max_length > 0 && longest > settings_.max_length;
    totals.longest = std::max(totals.longest, is_cut ? settings_.max_length : longest);
  }
  return totals;
}

Trainer::Micro TrainedLlava::micro(const std::vector<int64_t>& rows) {
  const auto waiting = std::make_shared<WaitingRows>();
  for (const int64_t index : rows) {
    const ConversationRow& row = rows_.at(static_cast<size_t>(index));
    LlavaRow ready{row.name, row.text, {}};
    std::vector<at::Tensor> tiles;
    try {
      if (!row.images.empty()) {
        for (TiledImage& image : loader_.take(index, files_of(row))) {
          ready.images.push_back({at::Tensor(), image.geometry});
          tiles.push_back(std::move(image.tiles));
        }
      }
    } catch (const InputError& error) {
      bad_.add(row.name, fmt::format("row {}: {}", row.name, error.what()));
      continue;
    }
    cut_row(ready, settings_.max_length, llava_.config);
    waiting->rows.push_back(std::move(ready));
    waiting->tiles.push_back(std::move(tiles));
  }
  Trainer::Micro micro = llava_micro(llava_, waiting->rows, settings_.loss);
  micro.loss = [this, waiting](double scale) {
    return llava_loss(llava_, waiting->normalised(loader_.settings()), scale, settings_.loss);
  };
  return micro;
}

std::map<std::string, at::Tensor> unused_tower_weights(const Checkpoint& checkpoint, Llava& llava) {
  const std::string prefix = "model.vision_tower.";
  std::set<std::string> used;
  for (const TensorSlot& slot : llava_slots(llava)) used.insert(slot.name);
  std::map<std::string, at::Tensor> unused;
  const auto tower = llava_part(checkpoint, LlavaPart::kTower);
  for (const TensorInfo& info : tower->tensors()) {
    // (Copied: a view would keep the whole file in memory.)
    if (used.count(prefix + info.name) > 0) continue;
    unused[prefix + info.name] = tower->take(info.name, at::kFloat).clone();
  }
  return unused;
}

}  // namespace ropescope
