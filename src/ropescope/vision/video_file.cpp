// Video files through FFmpeg's libraries: what they decode to, and nothing of what else they can open.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libswscale/swscale.h>
}

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "ropescope/core/errors.h"
#include "ropescope/vision/video.h"

namespace ropescope {

namespace video_file {

namespace {

// Containers that hold their frames themselves: no playlists, no devices, no addresses.
constexpr const char* kContainers =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,flv,asf,gif,m4v,h264,hevc";
constexpr const char* kCodecs =
    "h264,hevc,av1,libdav1d,libaom-av1,vp8,vp9,libvpx,libvpx-vp9,mpeg1video,mpeg2video,mpeg4,msmpeg4v2,msmpeg4,h263,flv,"
    "wmv1,wmv2,wmv3,vc1,mjpeg,theora,gif,ffv1,prores,rawvideo,png";

template <typename T, void (*Free)(T**)>
struct Freed {
  void operator()(T* pointer) const { Free(&pointer); }
};
void free_sws(SwsContext** context) { sws_freeContext(*context); }
using Container = std::unique_ptr<AVFormatContext, Freed<AVFormatContext, avformat_close_input>>;
using Decoder = std::unique_ptr<AVCodecContext, Freed<AVCodecContext, avcodec_free_context>>;
using Packet = std::unique_ptr<AVPacket, Freed<AVPacket, av_packet_free>>;
using Frame = std::unique_ptr<AVFrame, Freed<AVFrame, av_frame_free>>;
using Scaler = std::unique_ptr<SwsContext, Freed<SwsContext, free_sws>>;
using Options = std::unique_ptr<AVDictionary, Freed<AVDictionary, av_dict_free>>;

std::string error_text(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  av_strerror(code, text, sizeof text);
  return text;
}

double ratio(AVRational value) { return value.num > 0 && value.den > 0 ? av_q2d(value) : 0.0; }

/// The matrix that tells how to turn the frames, or null.
const int32_t* display_matrix(const AVStream& stream) {
#if LIBAVFORMAT_VERSION_MAJOR >= 61
  const AVPacketSideData* data = av_packet_side_data_get(
      stream.codecpar->coded_side_data, stream.codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  return data != nullptr && data->size >= 36 ? reinterpret_cast<const int32_t*>(data->data) : nullptr;
#else
  return reinterpret_cast<const int32_t*>(
      av_stream_get_side_data(&stream, AV_PKT_DATA_DISPLAYMATRIX, nullptr));
#endif
}

/// One pass through a file.
class Reading {
 public:
  explicit Reading(const std::string& name) : name_(name) {
    av_log_set_level(AV_LOG_QUIET);  // a library prints nothing
    AVDictionary* options = nullptr;
    av_dict_set(&options, "format_whitelist", kContainers, 0);
    av_dict_set(&options, "codec_whitelist", kCodecs, 0);
    av_dict_set(&options, "protocol_whitelist", "file", 0);
    AVFormatContext* container = nullptr;
    const int opened = avformat_open_input(&container, ("file:" + name).c_str(), nullptr, &options);
    const Options left(options);
    if (opened < 0) {
      throw InputError("{}: expected a video (MP4, MOV, MKV, WebM, AVI, MPEG, GIF, ...): {}", name,
                       error_text(opened));
    }
    container_.reset(container);
    check(avformat_find_stream_info(container_.get(), nullptr), "no stream can be read");
#if LIBAVFORMAT_VERSION_MAJOR >= 59
    const AVCodec* codec = nullptr;
#else
    AVCodec* codec = nullptr;
#endif
    const int found = av_find_best_stream(container_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (found < 0 || codec == nullptr ||
        (container_->streams[found]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0) {
      throw InputError("{}: expected a file with moving pictures of a known codec, found none", name);
    }
    stream_ = container_->streams[found];
    decoder_.reset(avcodec_alloc_context3(codec));
    if (!decoder_) throw EnvironmentError("{}: no memory for a decoder", name);
    check(avcodec_parameters_to_context(decoder_.get(), stream_->codecpar), "its stream cannot be decoded");
    decoder_->codec_whitelist = av_strdup(kCodecs);
    decoder_->max_pixels = kMostFramePixels;
    decoder_->thread_count = std::clamp(at::get_num_threads(), 1, 16);
    decoder_->pkt_timebase = stream_->time_base;
    check(avcodec_open2(decoder_.get(), codec, nullptr), "its stream cannot be decoded");
  }

  const AVStream& stream() const { return *stream_; }

  /// Calls take(frame) for each frame in the order of showing until it says false.
  void each_frame(const std::function<bool(const AVFrame&)>& take) {
    const Packet packet(av_packet_alloc());
    const Frame frame(av_frame_alloc());
    if (!packet || !frame) throw EnvironmentError("{}: no memory for a frame", name_);
    for (;;) {
      const int read = av_read_frame(container_.get(), packet.get());
      const bool ended = read == AVERROR_EOF;
      if (!ended) check(read, "the file ends early or is damaged");
      const bool other = !ended && packet->stream_index != stream_->index;
      const bool ours = !ended && !other;
      if (ours && (packet->flags & AV_PKT_FLAG_CORRUPT) != 0) {
        throw InputError("{}: the file ends early or is damaged", name_);
      }
      if (ours || ended) {
        const int sent = avcodec_send_packet(decoder_.get(), ended ? nullptr : packet.get());
        check(sent == AVERROR_EOF ? 0 : sent, "a frame cannot be decoded");
      }
      av_packet_unref(packet.get());
      if (!other && !take_decoded(*frame, take)) return;
      if (ended) return;
    }
  }

 private:
  bool take_decoded(AVFrame& frame, const std::function<bool(const AVFrame&)>& take) {
    for (;;) {
      const int got = avcodec_receive_frame(decoder_.get(), &frame);
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return true;
      check(got, "a frame cannot be decoded");
      if (frame.decode_error_flags != 0 || (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0) {
        throw InputError("{}: a frame is damaged", name_);
      }
      const bool more = take(frame);
      av_frame_unref(&frame);
      if (!more) return false;
    }
  }

  void check(int code, const char* what) const {
    if (code == AVERROR(ENOMEM)) throw EnvironmentError("{}: {}: no memory", name_, what);
    if (code < 0) throw InputError("{}: {}: {}", name_, what, error_text(code));
  }

  std::string name_;
  Container container_;
  Decoder decoder_;
  AVStream* stream_ = nullptr;
};

class VideoFile : public Clip {
 public:
  VideoFile(const std::filesystem::path& path, std::optional<double> fps) {
    name_ = path.string();
    Reading reading(name_);
    const double tick = ratio(reading.stream().time_base);
    std::vector<int64_t> ticks;
    reading.each_frame([&](const AVFrame& frame) {
      check_size(frame);
      if (total_frames() >= kMostClipFrames) {
        throw InputError("{}: expected a clip of at most {} frames", name_, kMostClipFrames);
      }
      ticks.push_back(frame.best_effort_timestamp);
      seconds_.push_back(0.0);
      return true;
    });
    if (ticks.empty()) throw InputError("{}: expected frames, found none", name_);
    fps_ = fps.value_or(own_rate(reading.stream()));
    if (!(fps_ >= 1e-3 && fps_ <= 1e4)) {
      throw InputError(
          "{}: expected a file that says 0.001 to 10000 frames a second, found {}: give the number", name_,
          fps_);
    }
    for (size_t i = 0; i < ticks.size(); ++i) {
      const bool known = ticks[i] != AV_NOPTS_VALUE && ticks[0] != AV_NOPTS_VALUE && tick > 0.0;
      seconds_[i] = known ? (static_cast<double>(ticks[i]) - static_cast<double>(ticks[0])) * tick
                          : static_cast<double>(i) / fps_;
    }
    if (const int32_t* matrix = display_matrix(reading.stream())) {
      const double degrees = av_display_rotation_get(matrix);
      // FFmpeg counts anticlockwise.
      if (std::isfinite(degrees))
        rotation_ = (360 - static_cast<int>(std::lround(degrees / 90.0)) * 90 % 360) % 360;
    }
  }

  std::vector<at::Tensor> frames(const std::vector<int64_t>& indices) override {
    check_indices(indices);
    std::vector<at::Tensor> result;
    if (indices.empty()) return result;
    Reading reading(name_);
    int64_t at = 0;
    const auto wanted = [&](size_t i) { return std::min(indices[i], total_frames() - 1); };
    reading.each_frame([&](const AVFrame& frame) {
      if (wanted(result.size()) == at) {
        const at::Tensor picture = to_rgb_frame(frame);
        while (result.size() < indices.size() && wanted(result.size()) == at) result.push_back(picture);
      }
      ++at;
      return result.size() < indices.size();
    });
    if (result.size() != indices.size()) throw InputError("{}: changed while it was read", name_);
    return result;
  }

 private:
  static double own_rate(const AVStream& stream) {
    const double average = ratio(stream.avg_frame_rate);
    return average > 0.0 ? average : ratio(stream.r_frame_rate);
  }

  void check_size(const AVFrame& frame) {
    if (width_ == 0) {
      width_ = frame.width;
      height_ = frame.height;
    }
    if (frame.width < 1 || frame.height < 1 || int64_t{frame.width} * frame.height > kMostFramePixels) {
      throw InputError("{}: expected frames of 1 to {} pixels, found {}x{}", name_, kMostFramePixels,
                       frame.width, frame.height);
    }
    if (frame.width != width_ || frame.height != height_) {
      throw InputError("{}: expected frames of one size, found {}x{} and {}x{}", name_, width_, height_,
                       frame.width, frame.height);
    }
  }

  at::Tensor to_rgb_frame(const AVFrame& frame) {
    check_size(frame);
    const Scaler scaler(sws_getContext(
        frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), frame.width, frame.height,
        AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, nullptr,
        nullptr, nullptr));
    if (!scaler) throw InputError("{}: its pixel format {} cannot be converted to RGB", name_, frame.format);
    const int space = frame.colorspace == AVCOL_SPC_BT709        ? SWS_CS_ITU709
                      : frame.colorspace == AVCOL_SPC_BT2020_NCL ? SWS_CS_BT2020
                      : frame.colorspace == AVCOL_SPC_SMPTE240M  ? SWS_CS_SMPTE240M
                      : frame.colorspace == AVCOL_SPC_FCC        ? SWS_CS_FCC
                                                                 : SWS_CS_ITU601;
    int *in_table = nullptr, *out_table = nullptr;
    int in_full = 0, out_full = 0, brightness = 0, contrast = 0, saturation = 0;
    if (sws_getColorspaceDetails(scaler.get(), &in_table, &in_full, &out_table, &out_full, &brightness,
                                 &contrast, &saturation) >= 0) {
      const int full = frame.color_range == AVCOL_RANGE_JPEG ? 1 : in_full;
      sws_setColorspaceDetails(scaler.get(), sws_getCoefficients(space), full, out_table, 1, brightness,
                               contrast, saturation);
    }
    // Written with room behind each row, where vector code may write.
    const int stride = (3 * frame.width + 127) / 64 * 64;
    std::vector<uint8_t> rows(static_cast<size_t>(stride) * static_cast<size_t>(frame.height) + 64);
    uint8_t* planes[4] = {rows.data(), nullptr, nullptr, nullptr};
    const int strides[4] = {stride, 0, 0, 0};
    if (sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, planes, strides) !=
        frame.height) {
      throw InputError("{}: a frame cannot be converted to RGB", name_);
    }
    at::Tensor picture = at::empty({frame.height, frame.width, 3}, at::kByte);
    auto* out = picture.mutable_data_ptr<uint8_t>();
    const size_t row_bytes = 3 * static_cast<size_t>(frame.width);
    for (size_t y = 0; y < static_cast<size_t>(frame.height); ++y) {
      std::memcpy(out + y * row_bytes, rows.data() + y * static_cast<size_t>(stride), row_bytes);
    }
    return picture;
  }
};

}  // namespace

}  // namespace video_file

std::unique_ptr<Clip> clips::open_video_file(const std::filesystem::path& path, std::optional<double> fps) {
  return std::make_unique<video_file::VideoFile>(path, fps);
}

}  // namespace ropescope
