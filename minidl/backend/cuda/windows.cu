// im2col and its transpose for convolutions. Images are NHWC; windows are (N, OH, OW, KH, KW, C), one row for every output pixel.

// One thread for one number of a row, in several rows one after another: so it works out only once which tap and channel it is.
extern "C" __global__ void unfold(
    const Real* x, Int image_step, Int row_step, Int column_step, Int channel_step, Int images, Int height, Int width, Int channels,
    Int out_height, Int out_width, Int kernel_height, Int kernel_width, Int stride_y, Int stride_x, Int dilation_y, Int dilation_x,
    Int top, Int left, Int rows_per_thread, Real* windows)
{
    const int length = kernel_height * kernel_width * channels, place = blockIdx.y * blockDim.x + threadIdx.x;
    if (place >= length) return;
    const int tap = place / channels, i = tap / (int)kernel_width, j = tap - i * kernel_width;
    x += (place - tap * channels) * channel_step;
    const Int pixels = images * out_height * out_width;
    Int pixel = (blockIdx.x * (Int)blockDim.y + threadIdx.y) * rows_per_thread;
    const Int end = pixel + rows_per_thread < pixels ? pixel + rows_per_thread : pixels;
    Int image = pixel / (out_height * out_width);
    int oy = pixel / out_width % out_height, ox = pixel % out_width;
    for (; pixel < end; pixel++) {
        const int row = oy * stride_y + i * dilation_y - top, column = ox * stride_x + j * dilation_x - left;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        windows[pixel * length + place] = inside ? x[image * image_step + row * row_step + column * column_step] : 0;
        if (++ox == out_width) {
            ox = 0;
            if (++oy == out_height) {
                oy = 0;
                image++;
            }
        }
    }
}

// One thread for one number of the image: the sum of all that was taken from it, in the order of the taps.
extern "C" __global__ void fold(
    const Real* windows, Int size, Int height, Int width, Int channels, Int out_height, Int out_width, Int kernel_height,
    Int kernel_width, Int stride_y, Int stride_x, Int dilation_y, Int dilation_x, Int top, Int left, Real* x)
{
    const Int at = blockIdx.x * (Int)blockDim.x + threadIdx.x;
    if (at >= size) return;
    const Place p = place(at, height, width, channels);
    Real sum = 0;
    for (int i = 0; i < kernel_height; i++) {
        const int oy = window_at(p.row + top - i * dilation_y, stride_y, out_height);
        if (oy < 0) continue;
        for (int j = 0; j < kernel_width; j++) {
            const int ox = window_at(p.column + left - j * dilation_x, stride_x, out_width);
            if (ox < 0) continue;
            const Int window = (p.image * out_height + oy) * out_width + ox;
            sum += windows[((window * kernel_height + i) * kernel_width + j) * channels + p.channel];
        }
    }
    x[at] = sum;
}
