#include "tests/vision/video_files.h"

#include <memory>

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
}

#include "ropescope/core/errors.h"

namespace ropescope::testing {

namespace {

void must(int code, const char* what) {
  if (code < 0) throw InternalError("write_video: {} ({})", what, code);
}

void drain(AVCodecContext* encoder, AVFormatContext* container, AVStream* stream, AVPacket* packet) {
  while (avcodec_receive_packet(encoder, packet) >= 0) {
    av_packet_rescale_ts(packet, encoder->time_base, stream->time_base);
    packet->stream_index = stream->index;
    must(av_interleaved_write_frame(container, packet), "writing");
  }
}

}  // namespace

void write_video(const std::string& path, const std::vector<at::Tensor>& frames,
                 const VideoOptions& options) {
  const auto height = static_cast<int>(frames.at(0).size(0)), width = static_cast<int>(frames[0].size(1));
  AVFormatContext* container = nullptr;
  must(avformat_alloc_output_context2(&container, nullptr, nullptr, path.c_str()), "the container");
  const AVCodec* codec = avcodec_find_encoder_by_name(options.codec.c_str());
  if (codec == nullptr) throw InternalError("write_video: no encoder {}", options.codec);
  AVCodecContext* encoder = avcodec_alloc_context3(codec);
  encoder->width = width;
  encoder->height = height;
  encoder->time_base = {options.rate_denominator, options.rate_numerator};
  encoder->framerate = {options.rate_numerator, options.rate_denominator};
  encoder->pix_fmt = options.codec == "ffv1" ? AV_PIX_FMT_BGR0 : AV_PIX_FMT_YUV420P;
  encoder->bit_rate = 4'000'000;
  encoder->gop_size = 5;
  encoder->max_b_frames = options.codec == "mpeg4" ? 2 : 0;
  if ((container->oformat->flags & AVFMT_GLOBALHEADER) != 0) encoder->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  must(avcodec_open2(encoder, codec, nullptr), "the encoder");
  AVStream* stream = avformat_new_stream(container, nullptr);
  stream->time_base = encoder->time_base;
  stream->avg_frame_rate = encoder->framerate;
  must(avcodec_parameters_from_context(stream->codecpar, encoder), "the stream");
  must(avio_open(&container->pb, path.c_str(), AVIO_FLAG_WRITE), "the file");
  must(avformat_write_header(container, nullptr), "the header");
  SwsContext* scaler = sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, encoder->pix_fmt,
                                      SWS_BICUBIC | SWS_ACCURATE_RND, nullptr, nullptr, nullptr);
  AVPacket* packet = av_packet_alloc();
  for (size_t i = 0; i < frames.size(); ++i) {
    const at::Tensor pixels = frames[i].contiguous();
    AVFrame* frame = av_frame_alloc();
    frame->width = width;
    frame->height = height;
    frame->format = encoder->pix_fmt;
    must(av_frame_get_buffer(frame, 0), "a frame");
    const uint8_t* planes[4] = {pixels.const_data_ptr<uint8_t>(), nullptr, nullptr, nullptr};
    const int strides[4] = {3 * width, 0, 0, 0};
    sws_scale(scaler, planes, strides, 0, height, frame->data, frame->linesize);
    frame->pts = options.ticks.empty() ? static_cast<int64_t>(i) : options.ticks.at(i);
    must(avcodec_send_frame(encoder, frame), "encoding");
    drain(encoder, container, stream, packet);
    av_frame_free(&frame);
  }
  must(avcodec_send_frame(encoder, nullptr), "the end");
  drain(encoder, container, stream, packet);
  must(av_write_trailer(container), "the trailer");
  av_packet_free(&packet);
  sws_freeContext(scaler);
  avcodec_free_context(&encoder);
  avio_closep(&container->pb);
  avformat_free_context(container);
}

}  // namespace ropescope::testing
