from tests.adapters.bybit.conftest import desk_over
async def test_it():
    async with desk_over() as desk:
        desk.venue.submit_order(desk.order(1))
        await desk.until(lambda: desk.venue.in_flight==0)
        await desk.step()
        await desk.until(lambda: desk.updates("t-1")[-1:]==["filled"])
        print([type(p).__name__+str(getattr(p,'status','')) for p in desk.published], desk.notices, desk.venue.frozen)
        print(desk.fills())
        assert 0
