using Vmsweep.DiskReaders.Blocks;

namespace Vmsweep.DiskReaders.FileSystems.Xfs.Log;

internal static class XfsLog
{
    public static LogPatches? Replay(XfsSuperblock super, IBlockSource volume, ReadContext context, List<string> notes) => null;
}
