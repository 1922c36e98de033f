#include "train/train_subject.h"

#include <utility>

#include "ropescope/architectures/architecture.h"
#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/train/conversation_rows.h"
#include "ropescope/train/fresh_llava.h"
#include "ropescope/train/llava_model.h"
#include "ropescope/train/text_rows.h"
#include "ropescope/train/token_cache.h"
#include "ropescope/train/trained_decoder.h"
#include "ropescope/train/trained_llava.h"

#include "inputs/loaded_model.h"

namespace ropescope::app::train {

TrainSubject::TrainSubject(const TrainSettings& settings, at::Device device, std::filesystem::path log)
    : bad_(settings.max_bad_rows, std::move(log)), tokenizer_(load_tokenizer(settings.model)) {
  LoadOptions load;
  load.device = device;
  if (settings.sees) {
    load_llava(settings, load);
  } else {
    load_text(settings, load);
  }
}

void TrainSubject::load_text(const TrainSettings& settings, const LoadOptions& load) {
  const DecoderConfig config = read_decoder_config(settings.model);
  if (!is_trainable(config)) {
    throw UsageError(
        "--model {}: {} is not trained here: only decoders with softmax attention in all layers and without experts are. "
        "Try: trace, sample or generate, which run it",
        settings.model.string(), config.model_type);
  }
  std::vector<TextRow> rows = read_text_rows(settings.data, *tokenizer_, settings.rows, bad_);
  decoder_ = load_decoder(open_checkpoint(settings.model), config, load);
  model_ = std::make_unique<TrainedDecoder>(*decoder_, std::move(rows), tokenizer_->eos_id().value_or(0),
                                            settings.loss);
  parameters_ = make_trainable(*decoder_, settings.trained, settings.frozen, settings.copies_weights);
  files_ = read_model_files(settings.model);
}

void TrainSubject::load_llava(const TrainSettings& settings, const LoadOptions& load) {
  ConversationRowOptions options;
  options.conversation = settings.rows.conversation;
  options.move = settings.image_move;
  options.images = true;
  options.image_folder = settings.image_folder;
  std::vector<ConversationRow> rows;
  if (holds_conversations(settings.data)) {
    rows = settings.token_cache.empty() ? read_conversation_rows(settings.data, *tokenizer_, options, bad_)
                                        : read_cached_rows(settings.token_cache, settings.data,
                                                           settings.model, *tokenizer_, options, bad_);
  } else {
    for (TextRow& row : read_text_rows(settings.data, *tokenizer_, settings.rows, bad_)) {
      rows.push_back({std::move(row.name), std::move(row.text), {}});
    }
  }
  const bool fresh = !settings.vision_tower.empty();
  const auto checkpoint = open_checkpoint(fresh ? settings.vision_tower : settings.model);
  PreprocessSettings preprocess;
  if (fresh) {
    FreshLlava made = make_fresh_llava(settings.model, settings.vision_tower, settings.sampler.seed, load);
    llava_ = std::move(made.llava);
    files_ = std::move(made.files);
    preprocess = std::move(made.preprocess);
    if (settings.pinpoints) preprocess.anyres->rule = *settings.pinpoints;
  } else {
    llava_ = ropescope::load_llava(*checkpoint, read_llava_config(settings.model), settings.model, load);
    files_ = read_model_files(settings.model);
    preprocess = read_preprocess_settings(settings.model, settings.pinpoints);
  }
  DecodeOptions decode;
  decode.alpha = settings.alpha.value_or(llava_->config.original ? AlphaRule::kDrop : AlphaRule::kWhite);
  decode.exif = settings.exif;
  loader_ = std::make_unique<ImageLoader>(std::move(preprocess), decode, settings.workers);
  TrainedLlava::Settings seeing;
  seeing.image_folder = settings.image_folder;
  seeing.max_length = settings.rows.conversation.max_length;
  seeing.loss = settings.loss;
  seeing.unused_weights = unused_tower_weights(*checkpoint, *llava_);
  model_ = std::make_unique<TrainedLlava>(*llava_, std::move(rows), *loader_, bad_, std::move(seeing));
  parameters_ = make_trainable(*llava_, settings.trained, settings.frozen, settings.copies_weights);
}

}  // namespace ropescope::app::train
