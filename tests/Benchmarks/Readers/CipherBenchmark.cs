using System.Globalization;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Blocks.Crypto;
using Vmsweep.DiskReaders.Volumes.BitLocker;
using Vmsweep.Golden;

namespace Vmsweep.Benchmarks.Readers;

/// <summary>Decryption of sectors, by processor time of one core, beside <c>openssl speed</c>.</summary>
internal static class CipherBenchmark
{
    private const int BufferBytes = 4 << 20;

    private static readonly TimeSpan Round = TimeSpan.FromSeconds(0.5);

    /// <summary>Until the runtime has compiled for speed what is called a few dozen times a second.</summary>
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(2);

    public static void Run(int rounds)
    {
        Console.WriteLine("\ndecryption of sectors of 512 bytes, GB/s of one core");
        var budget = new ScanBudget(64 << 20);
        byte[] data = new byte[BufferBytes];
        byte[] key = new byte[64];
        new Random(1).NextBytes(data);
        new Random(2).NextBytes(key);
        for (int method = 0x8000; method <= 0x8005; method++)
        {
            BitLockerCipher known = BitLockerCipher.Of(method);
            using ISectorCipher cipher = known.Make(key.AsSpan(0, known.StoredBytes), 512, budget);
            Once(cipher, data, WarmUp);
            double best = 0;
            for (int i = 0; i <= rounds; i++)
            {
                best = Math.Max(best, Once(cipher, data, Round));
            }

            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {known.Name}: {best:0.00}"));
        }

        foreach (string name in (string[])["aes-128-cbc", "aes-256-cbc", "aes-128-xts", "aes-256-xts"])
        {
            string last = Tool.Shell("openssl speed -decrypt -seconds 1 -bytes 512 -evp " + name + " 2> /dev/null | tail -n 1");
            string speed = last.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [.., var k] ? k.Trim().TrimEnd('k') : "";
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  openssl speed, {name}: {double.Parse(speed, CultureInfo.InvariantCulture) / 1e6:0.00}"));
        }
    }

    private static double Once(ISectorCipher cipher, byte[] data, TimeSpan least)
    {
        TimeSpan start = Environment.CpuUsage.TotalTime;
        long done = 0;
        TimeSpan taken;
        do
        {
            cipher.Decrypt(done / 512, data);
            done += data.Length;
            taken = Environment.CpuUsage.TotalTime - start;
        }
        while (taken < least);
        return done / taken.TotalSeconds / 1e9;
    }
}
