#include "train_subject.h"

#include <utility>

#include "ropescope/train/conversation_rows.h"
#include "ropescope/train/fresh_llava.h"
#include "ropescope/train/llava_model.h"
#include "ropescope/train/text_rows.h"
#include "ropescope/train/token_cache.h"
#include "ropescope/train/trained_decoder.h"
#include "ropescope/train/trained_llava.h"
#include "ropescope/weights/checkpoint.h"

#include "loaded_model.h"

namespace ropescope::app {

TrainSubject::TrainSubject(const TrainFlags& flags, at::Device device, std::filesystem::path log)
    : bad_(flags.max_bad_rows, std::move(log)), tokenizer_(load_tokenizer(flags.model)) {
  LoadOptions load;
  load.device = device;
  if (flags.sees) {
    load_llava(flags, load);
  } else {
    load_text(flags, load);
  }
}

void TrainSubject::load_text(const TrainFlags& flags, const LoadOptions& load) {
  std::vector<TextRow> rows = read_text_rows(flags.data, *tokenizer_, flags.rows, bad_);
  decoder_ = load_decoder(*open_checkpoint(flags.model), read_decoder_config(flags.model), load);
  model_ = std::make_unique<TrainedDecoder>(*decoder_, std::move(rows), tokenizer_->eos_id().value_or(0),
                                            flags.loss);
  parameters_ = make_trainable(*decoder_, flags.trained, flags.frozen, flags.copies_weights);
  files_ = read_model_files(flags.model);
}

void TrainSubject::load_llava(const TrainFlags& flags, const LoadOptions& load) {
  ConversationRowOptions options;
  options.conversation = flags.rows.conversation;
  options.move = flags.image_move;
  options.images = true;
  options.image_folder = flags.image_folder;
  std::vector<ConversationRow> rows;
  if (holds_conversations(flags.data)) {
    rows = flags.token_cache.empty()
               ? read_conversation_rows(flags.data, *tokenizer_, options, bad_)
               : read_cached_rows(flags.token_cache, flags.data, flags.model, *tokenizer_, options, bad_);
  } else {
    for (TextRow& row : read_text_rows(flags.data, *tokenizer_, flags.rows, bad_)) {
      rows.push_back({std::move(row.name), std::move(row.text), {}});
    }
  }
  const bool fresh = !flags.vision_tower.empty();
  const auto checkpoint = open_checkpoint(fresh ? flags.vision_tower : flags.model);
  PreprocessSettings preprocess;
  if (fresh) {
    FreshLlava made = make_fresh_llava(flags.model, flags.vision_tower, flags.sampler.seed, load);
    llava_ = std::move(made.llava);
    files_ = std::move(made.files);
    preprocess = std::move(made.preprocess);
    if (flags.pinpoints) preprocess.anyres->rule = *flags.pinpoints;
  } else {
    llava_ = ropescope::load_llava(*checkpoint, read_llava_config(flags.model), flags.model, load);
    files_ = read_model_files(flags.model);
    preprocess = read_preprocess_settings(flags.model, flags.pinpoints);
  }
  DecodeOptions decode;
  decode.alpha = flags.alpha.value_or(llava_->config.original ? AlphaRule::kDrop : AlphaRule::kWhite);
  decode.exif = flags.exif;
  loader_ = std::make_unique<ImageLoader>(std::move(preprocess), decode, flags.workers);
  TrainedLlava::Settings settings;
  settings.image_folder = flags.image_folder;
  settings.max_length = flags.rows.conversation.max_length;
  settings.loss = flags.loss;
  settings.unused_weights = unused_tower_weights(*checkpoint, *llava_);
  model_ = std::make_unique<TrainedLlava>(*llava_, std::move(rows), *loader_, bad_, std::move(settings));
  parameters_ = make_trainable(*llava_, flags.trained, flags.frozen, flags.copies_weights);
}

}  // namespace ropescope::app
