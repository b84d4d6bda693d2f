// What the other files begin with (`source` in launch.py puts it before them).

typedef long long Int;

// Which number of an array (images, height, width, channels) a thread has.
struct Place {
    Int image;
    int row, column, channel;
};

__device__ Place place(Int at, Int height, Int width, Int channels)
{
    const unsigned pixel = (unsigned)at / (unsigned)channels, line = pixel / (unsigned)width;
    Place p;
    p.channel = at - pixel * channels;
    p.column = pixel - line * width;
    p.row = line % (unsigned)height;
    p.image = line / (unsigned)height;
    return p;
}
